"""Euler's method, its ancestral form, and CFG++, which takes the noise from the estimate without the prompt."""

from __future__ import annotations

from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import ancestral, slope

__all__ = ["euler", "euler_ancestral", "euler_ancestral_cfg_pp", "euler_cfg_pp", "euler_cfg_pp_alternative"]


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


def euler_ancestral_cfg_pp(run: Run, *, eta: float = 1.0, s_noise: float = 1.0) -> Steps:
    """CFG++ (Chung et al. 2024, https://arxiv.org/abs/2406.08070), ancestral."""
    x, noise = run.x, run.noise.independent()
    for i, sigma, after in run.pairs():
        denoised, uncond = yield from run.look_uncond(i, x)
        down, up = ancestral(sigma, after, eta)
        x = denoised + slope(x, uncond, sigma) * down
        if up * s_noise > 0:
            x = x + noise(sigma, after) * (s_noise * up)
    return x


def euler_cfg_pp(run: Run) -> Steps:
    """CFG++ (Chung et al. 2024, https://arxiv.org/abs/2406.08070)."""
    return euler_ancestral_cfg_pp(run, eta=0.0)


def euler_cfg_pp_alternative(run: Run) -> Steps:
    """Euler along a slope from which guidance is taken once more, an early reading of CFG++."""
    x = run.x
    for i, sigma, after in run.pairs():
        denoised, uncond = yield from run.look_uncond(i, x)
        x = x + slope(x - denoised + uncond, denoised, sigma) * (after - sigma)
    return x
