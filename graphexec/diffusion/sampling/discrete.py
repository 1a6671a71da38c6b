"""The noise levels a model was trained on, and the way from them to its timesteps and predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["NoiseLevels", "sd1_levels"]


@dataclass(frozen=True, slots=True)
class NoiseLevels:
    """The sigmas of a model's timesteps, rising: `sigmas` and `log_sigmas`, float32 [T]."""

    sigmas: Tensor
    log_sigmas: Tensor

    @property
    def lowest(self) -> float:
        """Sigma of the first timestep."""
        return float(self.sigmas[0])

    @property
    def highest(self) -> float:
        """Sigma of the last timestep."""
        return float(self.sigmas[-1])

    def timestep(self, sigma: float) -> int:
        """The timestep nearest to `sigma`, in log space."""
        return int((math.log(sigma) - self.log_sigmas).abs().argmin())

    def sigma(self, timestep: float) -> float:
        """The sigma at a fractional timestep, interpolated in log space and held at both ends."""
        at = min(max(timestep, 0.0), len(self.log_sigmas) - 1.0)
        low = math.floor(at)
        part = at - low
        high = math.ceil(at)
        return math.exp((1 - part) * float(self.log_sigmas[low]) + part * float(self.log_sigmas[high]))


def sd1_levels() -> NoiseLevels:
    """The levels of Stable Diffusion 1.x: 1000 steps, betas 0.00085 to 0.012, linear in their square roots."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = torch.cumprod(1.0 - betas, dim=0)
    sigmas = ((1 - kept) / kept) ** 0.5
    return NoiseLevels(sigmas.float(), sigmas.log().float())
