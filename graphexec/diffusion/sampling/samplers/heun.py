"""Heun's method: Euler's, corrected with the slope at the other end."""

from __future__ import annotations

from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import slope

__all__ = ["heun"]


def heun(run: Run) -> Steps:
    """Algorithm 2 of Karras et al. 2022 without churn; two evaluations a step."""
    x = run.x
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        direction = slope(x, denoised, sigma)
        if after > 0:
            guess = x + direction * (after - sigma)
            direction = (direction + slope(guess, run.denoise(guess, after), after)) / 2
        x = x + direction * (after - sigma)
    return x
