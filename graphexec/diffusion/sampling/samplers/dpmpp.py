"""DPM-Solver++ (Lu et al. 2022, https://arxiv.org/abs/2211.01095): exponential integrators of the estimate."""

from __future__ import annotations

import math

from torch import Tensor

from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import ancestral, slope

__all__ = ["dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp"]


def dpmpp_2m(run: Run) -> Steps:
    """DPM-Solver++(2M), multistep of order 2."""
    x, h_last = run.x, 0.0
    old: Tensor | None = None
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        if after == 0:
            return denoised
        h = math.log(sigma / after)
        estimate = denoised if old is None else denoised + (denoised - old) * (h / (2 * h_last))
        x = x * (after / sigma) - estimate * math.expm1(-h)
        old, h_last = denoised, h
    return x


def dpmpp_2m_cfg_pp(run: Run) -> Steps:
    """DPM-Solver++(2M) with CFG++: the noise comes from the estimate without the prompt."""
    x, h_last = run.x, 0.0
    old: Tensor | None = None
    for i, sigma, after in run.pairs():
        denoised, uncond = yield from run.look_uncond(i, x)
        if after == 0:
            return denoised
        h = math.log(sigma / after)
        x = denoised + (x - uncond) * (after / sigma)
        if old is not None:
            x = x - (denoised - old) * (math.expm1(-h) * h / (2 * h_last))
        old, h_last = uncond, h
    return x


def dpmpp_2s_ancestral(run: Run, *, eta: float = 1.0, s_noise: float = 1.0) -> Steps:
    """DPM-Solver++(2S), single steps of order 2, further down than asked for, and back up with fresh noise."""
    x, noise = run.x, run.noise.independent()
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        down, up = ancestral(sigma, after, eta)
        if down == 0:
            x = denoised
        else:
            middle = math.sqrt(sigma * down)
            half = _towards(x, denoised, sigma, middle)
            x = _towards(x, run.denoise(half, middle), sigma, down)
        if after > 0:
            x = x + noise(sigma, after) * (s_noise * up)
    return x


def dpmpp_2s_ancestral_cfg_pp(run: Run, *, eta: float = 1.0, s_noise: float = 1.0) -> Steps:
    """DPM-Solver++(2S) ancestral with CFG++: the noise comes from the estimate without the prompt."""
    x, noise = run.x, run.noise.independent()
    for i, sigma, after in run.pairs():
        denoised, uncond = yield from run.look_uncond(i, x)
        down, up = ancestral(sigma, after, eta)
        if down == 0:
            x = denoised + slope(x, uncond, sigma) * down
        else:
            middle = math.sqrt(sigma * down)
            half = _towards(x + (denoised - uncond), denoised, sigma, middle)
            second, uncond = run.denoise.with_uncond(half, middle)
            x = _towards(x + (denoised - uncond), second, sigma, down)
        if after > 0:
            x = x + noise(sigma, after) * (s_noise * up)
    return x


def _towards(x: Tensor, denoised: Tensor, sigma: float, after: float) -> Tensor:
    """The exact step to `after` for an estimate that stays the same."""
    return x * (after / sigma) + denoised * (1 - after / sigma)
