"""DPM-Solver++: exponential integrators in the half log signal-to-noise ratio."""

from __future__ import annotations

import math

from torch import Tensor

from graphexec.diffusion.sampling.samplers.contract import Run, Steps

__all__ = ["dpmpp_2m"]


def dpmpp_2m(run: Run) -> Steps:
    """DPM-Solver++(2M), Lu et al. 2022 (https://arxiv.org/abs/2211.01095)."""
    x = run.x
    old: Tensor | None = None
    h_last = 0.0
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        if after == 0:
            return denoised
        h = math.log(sigma / after)
        estimate = denoised if old is None else denoised + (denoised - old) * (h / (2 * h_last))
        x = x * (after / sigma) - estimate * math.expm1(-h)
        old, h_last = denoised, h
    return x
