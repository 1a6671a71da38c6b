"""Options about the mask of what may change."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from graphexec.diffusion.options import DifferentialDiffusion
from graphexec.diffusion.sampling.effects.base import Effect, Setting

__all__ = ["Differential"]


@dataclass(frozen=True, slots=True)
class Differential(Effect):
    """A grey mask says how early a place may begin to change (Levin and Fried 2023, https://arxiv.org/abs/2306.00950).

    Strength below 1 mixes with the mask as it is; 0 does not, as in ComfyUI.
    """

    option: DifferentialDiffusion
    setting: Setting

    def mask(self, mask: Tensor, sigma: float) -> Tensor:
        """Whole where it is above the fraction of the run still to come."""
        levels, sigmas = self.setting.levels, self.setting.sigmas
        first, last = (levels.timestep(level) for level in (sigmas[0], max(sigmas[-1], levels.sigma_min)))
        # A run that begins at the lowest level has no more than its start, where the threshold is 1.
        threshold = 1.0 if first == last else (levels.timestep(sigma) - last) / (first - last)
        whole, strength = (mask >= threshold).to(mask), self.option.strength
        return whole * strength + mask * (1 - strength) if 0 < strength < 1 else whole
