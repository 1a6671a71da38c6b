"""Gradient estimation (Permenter and Yuan 2023, https://arxiv.org/abs/2306.04848)."""

from __future__ import annotations

from torch import Tensor

from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import slope

__all__ = ["gradient_estimation", "gradient_estimation_cfg_pp"]

GAMMA = 2.0


def gradient_estimation(run: Run) -> Steps:
    """Euler along the slope plus what it changed since the last step."""
    x = run.x
    old: Tensor | None = None
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        if after == 0:
            return denoised
        direction = slope(x, denoised, sigma)
        x = x + direction * (after - sigma) + _change(direction, old) * (after - sigma)
        old = direction
    return x


def gradient_estimation_cfg_pp(run: Run) -> Steps:
    """The same with CFG++: slopes are those of the estimate without the prompt."""
    x = run.x
    old: Tensor | None = None
    for i, sigma, after in run.pairs():
        denoised, uncond = yield from run.look_uncond(i, x)
        if after == 0:
            return denoised
        direction = slope(x, uncond, sigma)
        x = denoised + direction * after + _change(direction, old) * (after - sigma)
        old = direction
    return x


def _change(direction: Tensor, old: Tensor | None) -> Tensor | float:
    return 0.0 if old is None else (GAMMA - 1) * (direction - old)
