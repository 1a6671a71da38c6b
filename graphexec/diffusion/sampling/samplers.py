"""Samplers: each a generator that yields a `Step` for every noise level and returns the result.

All share one contract, `denoise(x, sigma) -> x0`, the model's estimate of the noiseless latent (Karras et al. 2022,
https://arxiv.org/abs/2206.00364). Progress, previews, cancellation and checks live in the consumer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from graphexec.diffusion.sampling.names import SamplerName

__all__ = ["SAMPLER_FUNCTIONS", "Denoiser", "Noise", "Sampler", "Step", "Steps"]


class Denoiser(Protocol):
    """Estimates the noiseless latent in `x` [B, C, h, w], noised to `sigma`."""

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor: ...


class Noise(Protocol):
    """Draws noise for the step from one sigma to the next."""

    def __call__(self, sigma: float, sigma_next: float, /) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One step, seen before it is taken: `x` at `sigma`, and the noiseless latent estimated from it."""

    i: int
    total: int
    sigma: float
    x: Tensor
    denoised: Tensor


Steps = Generator[Step, None, Tensor]
Sampler = Callable[[Denoiser, Tensor, Sequence[float], Noise], Steps]


def euler(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Steps:
    """Algorithm 2 of Karras et al. 2022 without churn and correction."""
    for i, sigma, after in _levels(sigmas):
        denoised = denoise(x, sigma)
        yield Step(i, len(sigmas) - 1, sigma, x, denoised)
        x = x + _slope(x, denoised, sigma) * (after - sigma)
    return x


def euler_ancestral(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Steps:
    """Euler, further down than asked for, and back up with fresh noise."""
    for i, sigma, after in _levels(sigmas):
        denoised = denoise(x, sigma)
        yield Step(i, len(sigmas) - 1, sigma, x, denoised)
        if after == 0:
            return denoised
        down, up = _ancestral(sigma, after)
        x = x + _slope(x, denoised, sigma) * (down - sigma)
        x = x + noise(sigma, after) * up
    return x


def heun(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Steps:
    """Algorithm 2 of Karras et al. 2022 without churn; two evaluations a step."""
    for i, sigma, after in _levels(sigmas):
        denoised = denoise(x, sigma)
        yield Step(i, len(sigmas) - 1, sigma, x, denoised)
        slope = _slope(x, denoised, sigma)
        if after > 0:
            guess = x + slope * (after - sigma)
            slope = (slope + _slope(guess, denoise(guess, after), after)) / 2
        x = x + slope * (after - sigma)
    return x


def lms(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Steps:
    """Linear multistep (Adams-Bashforth) of order 4."""
    slopes: list[Tensor] = []
    for i, sigma, after in _levels(sigmas):
        denoised = denoise(x, sigma)
        yield Step(i, len(sigmas) - 1, sigma, x, denoised)
        if after == 0:
            return denoised
        slopes = [_slope(x, denoised, sigma), *slopes[:3]]
        known = [sigmas[i - k] for k in range(len(slopes))]
        for k, slope in enumerate(slopes):
            x = x + slope * _lagrange_integral(known, k, sigma, after)
    return x


def dpmpp_2m(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Steps:
    """DPM-Solver++(2M), Lu et al. 2022 (https://arxiv.org/abs/2211.01095)."""
    old: Tensor | None = None
    h_last = 0.0
    for i, sigma, after in _levels(sigmas):
        denoised = denoise(x, sigma)
        yield Step(i, len(sigmas) - 1, sigma, x, denoised)
        if after == 0:
            return denoised
        h = math.log(sigma / after)
        estimate = denoised if old is None else denoised + (denoised - old) * (h / (2 * h_last))
        x = x * (after / sigma) - estimate * math.expm1(-h)
        old, h_last = denoised, h
    return x


SAMPLER_FUNCTIONS: Mapping[SamplerName, Sampler] = {
    "euler": euler,
    "euler_ancestral": euler_ancestral,
    "heun": heun,
    "lms": lms,
    "dpmpp_2m": dpmpp_2m,
    # DDIM without its noise is Euler; what is its own, new noise around an inpainting mask, is not the sampler's.
    "ddim": euler,
}


def _levels(sigmas: Sequence[float]) -> Iterator[tuple[int, float, float]]:
    """Each step's number, its sigma and the next."""
    for i in range(len(sigmas) - 1):
        yield i, sigmas[i], sigmas[i + 1]


def _slope(x: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """dx/dsigma."""
    return (x - denoised) / sigma


def _ancestral(sigma: float, after: float) -> tuple[float, float]:
    """The level to go down to, and the noise to add to arrive at `after`."""
    up = min(after, math.sqrt(after**2 * (sigma**2 - after**2) / sigma**2))
    return math.sqrt(after**2 - up**2), up


def _lagrange_integral(points: Sequence[float], k: int, start: float, end: float) -> float:
    """Integral of the k-th Lagrange polynomial through up to four points; two Gauss nodes are exact for cubics."""
    middle, half = (start + end) / 2, (end - start) / 2
    nodes = (middle - half / math.sqrt(3), middle + half / math.sqrt(3))
    others = [point for j, point in enumerate(points) if j != k]
    values = (math.prod((node - other) / (points[k] - other) for other in others) for node in nodes)
    return half * sum(values)
