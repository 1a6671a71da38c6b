"""The midpoint method in log sigma, called DPM2 after DPM-Solver-2 (Lu et al. 2022)."""

from __future__ import annotations

import math

from torch import Tensor

from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import ancestral, slope

__all__ = ["dpm_2", "dpm_2_ancestral"]


def dpm_2(run: Run) -> Steps:
    """Algorithm 2 of Karras et al. 2022 with steps as in DPM-Solver-2; two evaluations a step."""
    x = run.x
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        if after == 0:
            return denoised
        x = _midpoint(run, x, denoised, sigma, after)
    return x


def dpm_2_ancestral(run: Run, *, eta: float = 1.0, s_noise: float = 1.0) -> Steps:
    """The midpoint method, further down than asked for, and back up with fresh noise."""
    x, noise = run.x, run.noise.independent()
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        down, up = ancestral(sigma, after, eta)
        x = denoised if down == 0 else _midpoint(run, x, denoised, sigma, down)
        if after > 0:
            x = x + noise(sigma, after) * (s_noise * up)
    return x


def _midpoint(run: Run, x: Tensor, denoised: Tensor, sigma: float, after: float) -> Tensor:
    middle = math.sqrt(sigma * after)
    half = x + slope(x, denoised, sigma) * (middle - sigma)
    return x + slope(half, run.denoise(half, middle), middle) * (after - sigma)
