"""Options of a model recipe: what changes how a model is run rather than its weights. Importing this imports no torch.

What each does is in `graphexec.diffusion.sampling.effects`.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphexec.diffusion.types import ModelOption

__all__ = ["OPTIONS", "DifferentialDiffusion", "RescaleCfg"]


@dataclass(frozen=True, slots=True)
class DifferentialDiffusion(ModelOption):
    """A grey noise mask says how early each place may begin to change."""

    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class RescaleCfg(ModelOption):
    """Guidance whose standard deviation is brought back to that of the positive prediction by `multiplier`."""

    multiplier: float


OPTIONS: tuple[type[ModelOption], ...] = (DifferentialDiffusion, RescaleCfg)
