"""DPM-Solver++ for the stochastic equation (Lu et al. 2022, https://arxiv.org/abs/2211.01095), on a Brownian path."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from graphexec.diffusion.faults import SigmasError
from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import ancestral, phi_2

__all__ = ["dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde", "dpmpp_sde"]

Solver = Literal["midpoint", "heun"]


def dpmpp_sde(run: Run, *, eta: float = 1.0, s_noise: float = 1.0, r: float = 0.5) -> Steps:
    """Single steps of order 2 that look at the fraction `r` of each; two evaluations a step."""
    if r <= 0:
        raise SigmasError(f"r of dpmpp_sde must be above 0; it is {r:g}")
    x, noise = run.x, run.noise.brownian(run.sigmas)
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        if after == 0:
            return denoised
        middle = _between(sigma, after, r)
        down, up = ancestral(sigma, middle, eta)
        part = _exact(x, denoised, down / sigma) + noise(sigma, middle) * (s_noise * up)
        second = run.denoise(part, middle)
        down, up = ancestral(sigma, after, eta)
        x = _exact(x, denoised + (second - denoised) / (2 * r), down / sigma)
        x = x + noise(sigma, after) * (s_noise * up)
    return x


def dpmpp_2m_sde(run: Run, *, eta: float = 1.0, s_noise: float = 1.0, solver_type: Solver = "midpoint") -> Steps:
    """SDE-DPM-Solver++(2M), multistep of order 2."""
    x, noise, h_last = run.x, run.noise.brownian(run.sigmas), 0.0
    old: Tensor | None = None
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        if after == 0:
            return denoised
        h = math.log(sigma / after)
        h_eta = h * (eta + 1)
        x = _exact(x, denoised, math.exp(-h_eta))
        if old is not None:
            weight = -math.expm1(-h_eta) / 2 if solver_type == "midpoint" else h_eta * phi_2(-h_eta)
            x = x + (denoised - old) * (weight * h / h_last)
        if eta * s_noise:
            x = x + noise(sigma, after) * (after * _spread(h * eta) * s_noise)
        old, h_last = denoised, h
    return x


def dpmpp_2m_sde_heun(run: Run, *, eta: float = 1.0, s_noise: float = 1.0) -> Steps:
    """SDE-DPM-Solver++(2M) with the other weight of its second order."""
    return dpmpp_2m_sde(run, eta=eta, s_noise=s_noise, solver_type="heun")


def dpmpp_3m_sde(run: Run, *, eta: float = 1.0, s_noise: float = 1.0) -> Steps:
    """SDE-DPM-Solver++(3M), multistep of order 3."""
    x, noise = run.x, run.noise.brownian(run.sigmas)
    known: list[tuple[Tensor, float]] = []
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        if after == 0:
            return denoised
        h = math.log(sigma / after)
        h_eta = h * (eta + 1)
        x = _exact(x, denoised, math.exp(-h_eta)) + _bend(denoised, known, h, h_eta)
        if eta * s_noise:
            x = x + noise(sigma, after) * (after * _spread(h * eta) * s_noise)
        known = [(denoised, h), *known[:1]]
    return x


def _bend(denoised: Tensor, known: list[tuple[Tensor, float]], h: float, h_eta: float) -> Tensor | float:
    """What the last one or two estimates, each with the length of its step, add to a step of order 1."""
    if not known:
        return 0.0
    second = h_eta * phi_2(-h_eta)
    (old, h_1) = known[0]
    change = (denoised - old) * (h / h_1)
    if len(known) == 1:
        return change * second
    older, h_2 = known[1]
    bend = (change - (old - older) * (h / h_2)) * (h / (h_1 + h_2))
    return (change + bend * (h_1 / h)) * second - bend * (second / h_eta - 0.5)


def _exact(x: Tensor, denoised: Tensor, kept: float) -> Tensor:
    """The step that keeps so much of `x`, exact for an estimate that stays the same."""
    return x * kept + denoised * (1 - kept)


def _between(sigma: float, after: float, r: float) -> float:
    """The level at the fraction `r` of a step, in float32 as ComfyUI has it.

    The Brownian path is known at multiples of 1e-6 only, so that the last bit of a level can show in the noise.
    """
    t, t_after = -torch.tensor(sigma).log(), -torch.tensor(after).log()
    return float((-(t + (t_after - t) * r)).exp())


def _spread(h: float) -> float:
    """The standard deviation of the noise that a step adds, in units of its level."""
    return math.sqrt(-math.expm1(-2 * h))
