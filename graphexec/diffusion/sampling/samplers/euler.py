"""Euler's method and its ancestral form."""

from __future__ import annotations

from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import ancestral, slope

__all__ = ["euler", "euler_ancestral"]


def euler(run: Run) -> Steps:
    """Algorithm 2 of Karras et al. 2022 without churn and correction."""
    x = run.x
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        x = x + slope(x, denoised, sigma) * (after - sigma)
    return x


def euler_ancestral(run: Run, *, eta: float = 1.0, s_noise: float = 1.0) -> Steps:
    """Euler, further down than asked for, and back up with fresh noise."""
    x, noise = run.x, run.noise.independent()
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        if after == 0:
            return denoised
        down, up = ancestral(sigma, after, eta)
        x = x + slope(x, denoised, sigma) * (down - sigma)
        x = x + noise(sigma, after) * (s_noise * up)
    return x
