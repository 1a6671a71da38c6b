"""SEEDS (Gonzalez et al. 2023, https://arxiv.org/abs/2305.14267): exponential stochastic solvers in single steps."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from graphexec.diffusion.sampling.samplers.contract import Noise, Run, Steps
from graphexec.diffusion.sampling.samplers.steps import phi_2

__all__ = ["seeds_2", "seeds_3"]


def seeds_2(run: Run, *, eta: float = 1.0, s_noise: float = 1.0, r: float = 0.5) -> Steps:
    """SEEDS-2: two evaluations a step."""
    x, noise = run.x, run.noise.independent()
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        if after == 0:
            return denoised
        stage = _stages(x, sigma, after, eta, s_noise, noise)
        middle = sigma * (after / sigma) ** r
        second = run.denoise(stage(r, denoised, 0.0), middle)
        x = stage(1.0, denoised + (second - denoised) / (2 * r), 0.0)
    return x


def seeds_3(run: Run, *, eta: float = 1.0, s_noise: float = 1.0, r_1: float = 1 / 3, r_2: float = 2 / 3) -> Steps:
    """SEEDS-3: three evaluations a step."""
    x, noise = run.x, run.noise.independent()
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        if after == 0:
            return denoised
        h_eta = math.log(sigma / after) * (eta + 1)
        stage = _stages(x, sigma, after, eta, s_noise, noise)
        second = run.denoise(stage(r_1, denoised, 0.0), sigma * (after / sigma) ** r_1)
        bend = (second - denoised) * (r_2 / r_1 * r_2 * h_eta * phi_2(-r_2 * h_eta))
        third = run.denoise(stage(r_2, denoised, bend), sigma * (after / sigma) ** r_2)
        bend = (third - denoised) * (1 / r_2 * h_eta * phi_2(-h_eta))
        x = stage(1.0, denoised, bend)
    return x


Stage = Callable[[float, Tensor, Tensor | float], Tensor]


def _stages(x: Tensor, sigma: float, after: float, eta: float, s_noise: float, noise: Noise) -> Stage:
    """A function that goes from `x` to a fraction of the step, each time further along one path of noise."""
    h, done, path = math.log(sigma / after), 0.0, x.new_zeros(())

    def stage(fraction: float, denoised: Tensor, bend: Tensor | float) -> Tensor:
        nonlocal done, path
        level = sigma * (after / sigma) ** fraction
        reached = x * math.exp(-fraction * h * (eta + 1)) - denoised * math.expm1(-fraction * h * (eta + 1)) + bend
        if eta * s_noise == 0:
            return reached
        way = (fraction - done) * h * eta
        start = sigma * (after / sigma) ** done
        path = path * math.exp(-way) + noise(start, level) * math.sqrt(-math.expm1(-2 * way))
        done = fraction
        return reached + path * (level * s_noise)

    return stage
