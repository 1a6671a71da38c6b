"""Schedules: which noise levels a run of so many steps visits.

Levels are float32 numbers, computed as ComfyUI computes them: a sampler that adds noise from a Brownian path tells
apart what differs in the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from graphexec.diffusion.faults import SigmasError
from graphexec.diffusion.sampling.discrete import ModelSampling
from graphexec.diffusion.sampling.names import DISCARD_PENULTIMATE, SamplerName, SchedulerName
from graphexec.diffusion.sampling.sigmas import check_above_zero

__all__ = [
    "SCHEDULES",
    "align_your_steps",
    "beta_sigmas",
    "exponential_sigmas",
    "karras_sigmas",
    "laplace_sigmas",
    "polyexponential_sigmas",
    "sampling_sigmas",
    "turbo_sigmas",
    "vp_sigmas",
]

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
    return [levels.sigma(timestep) for timestep in _timesteps(levels, steps)] + [0.0]


def sgm_uniform(levels: ModelSampling, steps: int) -> list[float]:
    """Evenly spaced timesteps, the first left out."""
    return [levels.sigma(timestep) for timestep in _timesteps(levels, steps + 1)[:-1]] + [0.0]


def karras(levels: ModelSampling, steps: int) -> list[float]:
    """Karras et al. 2022 with rho 7."""
    return karras_sigmas(steps, levels.sigma_max, levels.sigma_min, 7.0)


def exponential(levels: ModelSampling, steps: int) -> list[float]:
    """Evenly spaced logarithms of sigma."""
    return exponential_sigmas(steps, levels.sigma_max, levels.sigma_min)


def beta(levels: ModelSampling, steps: int) -> list[float]:
    """Timesteps at quantiles of Beta(0.6, 0.6): denser at both ends."""
    return beta_sigmas(levels, steps, 0.6, 0.6)


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
    return _listed(torch.tensor([1 - part for part in done]) * levels.sigma_max)


def kl_optimal(levels: ModelSampling, steps: int) -> list[float]:
    """Evenly spaced arctangents of sigma (https://arxiv.org/abs/2404.14507, section 3.1)."""
    ramp = torch.arange(steps, dtype=torch.float32) / max(steps - 1, 1)
    return _listed((ramp * math.atan(levels.sigma_min) + (1 - ramp) * math.atan(levels.sigma_max)).tan(), 0.0)


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


def sampling_sigmas(
    levels: ModelSampling,
    scheduler: SchedulerName,
    steps: int,
    denoise: float = 1.0,
    sampler: SamplerName | None = None,
) -> list[float]:
    """The levels of a run: with `denoise` below 1, the last `steps` of a longer run. Empty where nothing is to do.

    Samplers that look between two levels do so badly between the last and 0: for them the last but one is left out of
    a schedule with one step more.
    """
    if denoise <= 0 or steps < 1:
        return []
    if denoise > 0.9999:
        return _whole(levels, scheduler, steps, sampler)
    return _whole(levels, scheduler, int(steps / denoise), sampler)[-(steps + 1) :]


def _whole(levels: ModelSampling, scheduler: SchedulerName, steps: int, sampler: SamplerName | None) -> list[float]:
    if sampler not in DISCARD_PENULTIMATE:
        return SCHEDULES[scheduler](levels, steps)
    *high, _, last = SCHEDULES[scheduler](levels, steps + 1)
    return [*high, last]


def karras_sigmas(steps: int, high: float, low: float, rho: float) -> list[float]:
    """Karras et al. 2022, equation 5 (https://arxiv.org/abs/2206.00364), and 0."""
    check_above_zero(sigma_max=high, sigma_min=low, rho=rho)
    try:
        start, end = high ** (1 / rho), low ** (1 / rho)
    except OverflowError:
        start = end = math.inf  # which no schedule has, as is said below
    sigmas = (start + torch.linspace(0, 1, steps) * (end - start)) ** rho
    return _checked(_listed(sigmas, 0.0), sigma_max=high, sigma_min=low, rho=rho)


def exponential_sigmas(steps: int, high: float, low: float) -> list[float]:
    """Evenly spaced logarithms of sigma, and 0."""
    check_above_zero(sigma_max=high, sigma_min=low)
    return _listed(torch.linspace(math.log(high), math.log(low), steps).exp(), 0.0)


def polyexponential_sigmas(steps: int, high: float, low: float, rho: float) -> list[float]:
    """Logarithms of sigma spaced by a power, and 0."""
    check_above_zero(sigma_max=high, sigma_min=low, rho=rho)
    ramp = torch.linspace(1, 0, steps) ** rho
    return _listed((ramp * (math.log(high) - math.log(low)) + math.log(low)).exp(), 0.0)


def laplace_sigmas(steps: int, high: float, low: float, mu: float, spread: float) -> list[float]:
    """Quantiles of a Laplace distribution of log sigma (https://arxiv.org/abs/2407.03297); the last is `low`, not 0."""
    check_above_zero(sigma_max=high)
    half = 0.5 - torch.linspace(0, 1, steps)
    return _listed((mu - spread * half.sign() * (1 - 2 * half.abs() + 1e-5).log()).exp().clamp(low, high))


def vp_sigmas(steps: int, beta_d: float, beta_min: float, eps_s: float) -> list[float]:
    """Evenly spaced times of the variance-preserving process (Song et al. 2021), and 0."""
    check_above_zero(eps_s=eps_s)
    t = torch.linspace(1, eps_s, steps)
    sigmas = _listed((beta_d * t**2 / 2 + beta_min * t).expm1().sqrt(), 0.0)
    return _checked(sigmas, beta_d=beta_d, beta_min=beta_min)


def beta_sigmas(levels: ModelSampling, steps: int, alpha: float, beta: float) -> list[float]:
    """Timesteps at quantiles of a Beta distribution (https://arxiv.org/abs/2407.12173), equal ones once, and 0."""
    from scipy.special import betaincinv  # pyright: ignore[reportMissingTypeStubs]

    check_above_zero(alpha=alpha, beta=beta)
    quantiles = betaincinv(alpha, beta, 1 - np.linspace(0, 1, steps, endpoint=False))
    timesteps = np.rint(quantiles * (len(levels.sigmas) - 1)).astype(int).tolist()
    return [float(levels.sigmas[timestep]) for timestep in dict.fromkeys(timesteps)] + [0.0]


def turbo_sigmas(levels: ModelSampling, steps: int, denoise: float) -> list[float]:
    """Up to ten timesteps, 100 apart from the last, as SD Turbo was distilled for; `denoise` leaves out the first.

    Raises `SigmasError` for a model of continuous levels, which knows no such timesteps.
    """
    if levels.recipe.levels != "discrete":
        raise SigmasError(
            "SDTurboScheduler counts the 1000 timesteps of Stable Diffusion; this model has continuous noise levels:"
            " take another scheduler, or the model without ModelSamplingContinuousEDM or ModelSamplingContinuousV"
        )
    first = 10 - int(10 * denoise)
    timesteps = [100 * i - 1 for i in range(10, 0, -1)][first : first + steps]
    return [levels.sigma(timestep) for timestep in timesteps] + [0.0]


ALIGN_YOUR_STEPS: Mapping[str, Sequence[float]] = {
    "SD1": (
        14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092,
        0.9642583904, 0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582,
    ),
    "SDXL": (
        14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141,
        0.5550693289, 0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582,
    ),
    "SVD": (700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}  # fmt: skip


def align_your_steps(model_type: str, steps: int, denoise: float) -> list[float]:
    """The optimised levels of Sabour et al. 2024 (https://arxiv.org/abs/2404.14507), between them even in log sigma."""
    if denoise <= 0:
        return []
    known = np.array(ALIGN_YOUR_STEPS[model_type])
    if steps + 1 != len(known):
        places = np.linspace(0, 1, steps + 1)
        known = np.exp(np.interp(places, np.linspace(0, 1, len(known)), np.log(known)))
    kept = steps if denoise >= 1 else round(steps * denoise)
    return _listed(torch.tensor(known[len(known) - kept - 1 : -1], dtype=torch.float32), 0.0)


def _checked(sigmas: list[float], **settings: float) -> list[float]:
    """Levels that end in 0; raises `SigmasError` with the settings if others are 0 or beyond float32."""
    if not all(0 < sigma < math.inf for sigma in sigmas[:-1]):
        told = ", ".join(f"{name} {value:g}" for name, value in settings.items())
        raise SigmasError(f"with {told} noise levels become 0, or too large for numbers: choose other settings")
    return sigmas


def _timesteps(levels: ModelSampling, count: int) -> list[float]:
    """Evenly spaced timesteps from that of the highest level to that of the lowest."""
    return torch.linspace(levels.timestep(levels.sigma_max), levels.timestep(levels.sigma_min), count).tolist()


def _listed(sigmas: Tensor, *more: float) -> list[float]:
    return [*sigmas.tolist(), *more]
