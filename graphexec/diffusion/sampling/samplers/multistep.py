"""Linear multistep methods, which reuse the slopes of earlier steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import integrals, lagrange, mixed, slope

__all__ = ["deis", "ipndm", "ipndm_v", "lms"]

Weigh = Callable[[Sequence[float], float], Sequence[float]]
"""From the levels whose slopes are known, the newest first, and the next level: each slope's weight in the step."""


def lms(run: Run, *, order: int = 4) -> Steps:
    """Adams-Bashforth with steps of any length."""
    return _multistep(run, order, _adams_bashforth)


def ipndm(run: Run) -> Steps:
    """Adams-Bashforth of order 4 as if all steps were equally long (Zhang and Chen 2022, iPNDM)."""
    return _multistep(run, 4, _equal_steps)


def ipndm_v(run: Run) -> Steps:
    """iPNDM with steps of any length, as it is in use; see `_uneven_steps`."""
    return _multistep(run, 4, _uneven_steps)


def deis(run: Run) -> Steps:
    """DEIS of order 3, tAB (Zhang and Chen 2022, https://arxiv.org/abs/2204.13902)."""
    return _multistep(run, 3, _deis_weights)


def _multistep(run: Run, order: int, weigh: Weigh) -> Steps:
    x, slopes = run.x, list[Tensor]()
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        if after == 0:
            return denoised
        slopes = [slope(x, denoised, sigma), *slopes[: order - 1]]
        known = [run.sigmas[i - k] for k in range(len(slopes))]
        x = x + mixed(weigh(known, after), slopes)
    return x


def _adams_bashforth(known: Sequence[float], after: float) -> list[float]:
    return integrals(known, known[0], after)


EQUAL_STEPS = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def _equal_steps(known: Sequence[float], after: float) -> list[float]:
    return [weight * (after - known[0]) for weight in EQUAL_STEPS[len(known) - 1]]


def _uneven_steps(known: Sequence[float], after: float) -> list[float]:
    """Adams-Bashforth for uneven steps in the form in which diff-sampler published it and everyone took it over.

    Its third order has a factor inside a bracket that belongs outside, its fourth a ratio of the wrong two steps, so
    that `lms` is the better method where steps differ much. Other numbers would be other pictures, so it stays.
    """
    h, *back = (new - old for new, old in zip((after, *known), known, strict=False))
    stencils: list[tuple[float, Sequence[float]]] = [(1.0, (1.0,))]
    if len(known) > 1:
        a = back[0]
        stencils.append((h / (2 * a), (1.0, -1.0)))
    if len(known) > 2:
        a, b = back[:2]
        third = (1 - h / (3 * (h + a)) * (h * (h + a)) / (a * (a + b))) / 2
        stencils.append((third, (1.0, -1 - a / b, a / b)))
    if len(known) > 3:
        a, b, c = back
        fourth = (1 - h / (3 * (h + a))) / 2 + (1 - h / (2 * (h + a))) * h / (6 * (h + a + b))
        fourth *= (h * (h + a) * (h + a + b)) / (a * (a + b) * (a + b + c))
        q = a * (a + b) / (b * (b + c))
        stencils.append((fourth, (1.0, -1 - a / b - q, a / b + q * (1 + b / c), -q * a / b)))
    return [h * sum(part * weights[k] for part, weights in stencils if k < len(weights)) for k in range(len(known))]


VP_LONGEST, VP_FIRST = 80.0, (0.002, 1e-3)
"""The variance-preserving time in which DEIS interpolates: sigma 80 at time 1, 0.002 at time 0.001."""

DEIS_POINTS = 10_000


def _deis_weights(known: Sequence[float], after: float) -> list[float]:
    """Integrals over sigma of the Lagrange polynomials in time.

    By a plain sum over so many points, as the method's tables have always been computed: it is exact to about 1e-4, and
    another rule would give other pictures.
    """
    if len(known) == 1:
        return [after - known[0]]
    beta_d, beta_min = _vp_schedule()
    times = [_vp_time(sigma, beta_d, beta_min) for sigma in (*known, after)]
    at = np.linspace(times[0], times[-1], DEIS_POINTS)
    kept = np.exp(-0.5 * at**2 * beta_d - at * beta_min)
    speed = 0.5 * (at * beta_d + beta_min) / np.sqrt(kept * (1 - kept))
    width = (times[-1] - times[0]) / DEIS_POINTS
    return [float((speed * lagrange(times[:-1], k, at)).sum()) * width for k in range(len(known))]


def _vp_schedule() -> tuple[float, float]:
    """Slope and start of the linear betas for which sigma is as `VP_LONGEST` and `VP_FIRST` say."""
    sigma, time = VP_FIRST
    high, low = math.log(VP_LONGEST**2 + 1), math.log(sigma**2 + 1)
    beta_d = 2 * (low / time - high) / (time - 1)
    return beta_d, high - 0.5 * beta_d


def _vp_time(sigma: float, beta_d: float, beta_min: float) -> float:
    return (math.sqrt(beta_min**2 + 2 * beta_d * math.log(sigma**2 + 1)) - beta_min) / beta_d
