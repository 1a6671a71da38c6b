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

    Strength below 1 mixes with the mask as it is.
    """

    option: DifferentialDiffusion
    setting: Setting

    def mask(self, mask: Tensor, sigma: float) -> Tensor:
        """Whole where it is above the fraction of the run still to come."""
        levels, sigmas = self.setting.levels, self.setting.sigmas
        first, last = (levels.timestep(level) for level in (sigmas[0], max(sigmas[-1], levels.sigma_min)))
        threshold = (levels.timestep(sigma) - last) / (first - last)
        whole = (mask >= threshold).to(mask)
        return whole if self.option.strength >= 1 else whole * self.option.strength + mask * (1 - self.option.strength)
