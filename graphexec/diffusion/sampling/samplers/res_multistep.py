"""RES, the refined exponential solver (Zhang et al. 2023, https://arxiv.org/abs/2308.02157), multistep of order 2."""

from __future__ import annotations

import math

from torch import Tensor

from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import ancestral, phi_2, slope

__all__ = ["res_multistep", "res_multistep_ancestral", "res_multistep_ancestral_cfg_pp", "res_multistep_cfg_pp"]


def res_multistep(run: Run) -> Steps:
    """Without noise."""
    return res_multistep_ancestral(run, eta=0.0)


def res_multistep_cfg_pp(run: Run) -> Steps:
    """Without noise, with CFG++."""
    return res_multistep_ancestral_cfg_pp(run, eta=0.0)


def res_multistep_ancestral(run: Run, *, eta: float = 1.0, s_noise: float = 1.0) -> Steps:
    """Further down than asked for, and back up with fresh noise."""
    x, noise = run.x, run.noise.independent()
    old: tuple[Tensor, float] | None = None
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        down, up = ancestral(sigma, after, eta)
        if down == 0 or old is None:
            x = x + slope(x, denoised, sigma) * (down - sigma)
        else:
            x = _second_order(x, denoised, old, sigma, down, run.sigmas[i - 1])
        if after > 0 and up * s_noise > 0:
            x = x + noise(sigma, after) * (s_noise * up)
        old = denoised, down
    return x


def res_multistep_ancestral_cfg_pp(run: Run, *, eta: float = 1.0, s_noise: float = 1.0) -> Steps:
    """Ancestral with CFG++: the noise comes from the estimate without the prompt."""
    x, noise = run.x, run.noise.independent()
    old: tuple[Tensor, float] | None = None
    for i, sigma, after in run.pairs():
        denoised, uncond = yield from run.look_uncond(i, x)
        down, up = ancestral(sigma, after, eta)
        if down == 0 or old is None:
            x = denoised + slope(x, uncond, sigma) * down
        else:
            x = _second_order(x + (denoised - uncond), uncond, old, sigma, down, run.sigmas[i - 1])
        if after > 0 and up * s_noise > 0:
            x = x + noise(sigma, after) * (s_noise * up)
        old = uncond, down
    return x


def _second_order(
    x: Tensor, denoised: Tensor, old: tuple[Tensor, float], sigma: float, down: float, before: float
) -> Tensor:
    """A step from `sigma` to `down`; the last one began at `before`, and `old` is its estimate and where it ended.

    The place of the earlier estimate is taken from there, as the method's authors do; without noise that is `sigma`.
    """
    earlier, reached = old
    h = math.log(sigma / down)
    place = math.log(reached / before) / h
    bend = phi_2(-h) / place
    return x * (down / sigma) - denoised * math.expm1(-h) + (earlier - denoised) * (h * bend)
