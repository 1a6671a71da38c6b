"""Schedules: which noise levels a run of so many steps visits. Each ends in 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from graphexec.diffusion.sampling.discrete import ModelSampling
from graphexec.diffusion.sampling.names import SchedulerName

__all__ = ["SCHEDULES", "sampling_sigmas"]

Schedule = Callable[[ModelSampling, int], list[float]]


def simple(levels: ModelSampling, steps: int) -> list[float]:
    """Every n-th level, from the highest."""
    stride = len(levels.sigmas) / steps
    return [float(levels.sigmas[-(1 + int(i * stride))]) for i in range(steps)] + [0.0]


def ddim_uniform(levels: ModelSampling, steps: int) -> list[float]:
    """Every n-th level, from the second lowest up; the number of steps may differ a little from `steps`."""
    stride = max(len(levels.sigmas) // steps, 1)
    chosen = levels.sigmas[1::stride].tolist()
    return [*reversed(chosen), 0.0]


def normal(levels: ModelSampling, steps: int) -> list[float]:
    """Evenly spaced timesteps, from the last to the first."""
    last = len(levels.sigmas) - 1
    return [levels.sigma(last - last * i / max(steps - 1, 1)) for i in range(steps)] + [0.0]


def sgm_uniform(levels: ModelSampling, steps: int) -> list[float]:
    """Evenly spaced timesteps, the first left out."""
    last = len(levels.sigmas) - 1
    return [levels.sigma(last - last * i / steps) for i in range(steps)] + [0.0]


def karras(levels: ModelSampling, steps: int) -> list[float]:
    """Karras et al. 2022, equation 5, rho 7 (https://arxiv.org/abs/2206.00364)."""
    low, high = levels.sigma_min ** (1 / 7), levels.sigma_max ** (1 / 7)
    return [(high + ramp * (low - high)) ** 7 for ramp in _ramp(steps)] + [0.0]


def exponential(levels: ModelSampling, steps: int) -> list[float]:
    """Evenly spaced logarithms of sigma."""
    low, high = math.log(levels.sigma_min), math.log(levels.sigma_max)
    return [math.exp(high + ramp * (low - high)) for ramp in _ramp(steps)] + [0.0]


def beta(levels: ModelSampling, steps: int) -> list[float]:
    """Timesteps at quantiles of Beta(0.6, 0.6): denser at both ends (https://arxiv.org/abs/2407.12173)."""
    last = len(levels.sigmas) - 1
    timesteps = [round(_beta_quantile(1 - i / steps, 0.6) * last) for i in range(steps)]
    distinct = dict.fromkeys(timesteps)
    return [float(levels.sigmas[timestep]) for timestep in distinct] + [0.0]


def linear_quadratic(levels: ModelSampling, steps: int) -> list[float]:
    """Over half the steps the noise falls by 2.5 % of the highest level, evenly; then faster and faster, to 0.

    The falling is quadratic and continues the even half without a kink (Mochi 1 by Genmo).
    """
    gentle, start = steps // 2, 0.025
    if steps == 1:
        return [levels.sigma_max, 0.0]
    slope, rest = start / gentle, steps - gentle
    bend = (1 - start - slope * rest) / rest**2
    done = [slope * i for i in range(gentle)] + [start + slope * i + bend * i * i for i in range(rest)] + [1.0]
    return [(1 - part) * levels.sigma_max for part in done]


def kl_optimal(levels: ModelSampling, steps: int) -> list[float]:
    """Evenly spaced arctangents of sigma (https://arxiv.org/abs/2404.14507, section 3.1)."""
    low, high = math.atan(levels.sigma_min), math.atan(levels.sigma_max)
    return [math.tan(high + ramp * (low - high)) for ramp in _ramp(steps)] + [0.0]


SCHEDULES: Mapping[SchedulerName, Schedule] = {
    "simple": simple,
    "sgm_uniform": sgm_uniform,
    "karras": karras,
    "exponential": exponential,
    "ddim_uniform": ddim_uniform,
    "beta": beta,
    "normal": normal,
    "linear_quadratic": linear_quadratic,
    "kl_optimal": kl_optimal,
}


def sampling_sigmas(levels: ModelSampling, scheduler: SchedulerName, steps: int, denoise: float = 1.0) -> list[float]:
    """The levels of a run: with `denoise` below 1, the last `steps` of a longer run. Empty where nothing is to do."""
    if denoise <= 0 or steps < 1:
        return []
    schedule = SCHEDULES[scheduler]
    return schedule(levels, steps) if denoise > 0.9999 else schedule(levels, int(steps / denoise))[-(steps + 1) :]


def _ramp(steps: int) -> list[float]:
    """From 0 to 1 in `steps` numbers; a single one is 0, so that it means the highest level."""
    return [i / max(steps - 1, 1) for i in range(steps)]


def _beta_quantile(p: float, shape: float) -> float:
    """The p-quantile of Beta(shape, shape), by bisection of its lower half."""
    if p == 0.5:  # Exactly, since the timestep there is one of two to round to.
        return 0.5
    if p > 0.5:
        return 1 - _beta_quantile(1 - p, shape)
    low, high = 0.0, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _beta_cdf(middle, shape) < p else (low, middle)
    return high


def _beta_cdf(x: float, shape: float) -> float:
    """The cumulative Beta(shape, shape) for x up to 0.5, by its power series."""
    total, term, k = 0.0, 1.0, 0
    while term > 1e-18:
        total += term / (shape + k)
        k += 1
        term *= (k - shape) / k * x
    whole = math.gamma(shape) ** 2 / math.gamma(2 * shape)
    return x**shape * total / whole
