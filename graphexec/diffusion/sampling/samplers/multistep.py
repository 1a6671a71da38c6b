"""Linear multistep methods, which reuse the slopes of earlier steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import slope

__all__ = ["lms"]


def lms(run: Run, *, order: int = 4) -> Steps:
    """Linear multistep (Adams-Bashforth)."""
    x = run.x
    slopes: list[Tensor] = []
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        if after == 0:
            return denoised
        slopes = [slope(x, denoised, sigma), *slopes[: order - 1]]
        known = [run.sigmas[i - k] for k in range(len(slopes))]
        for k, direction in enumerate(slopes):
            x = x + direction * _lagrange_integral(known, k, sigma, after)
    return x


def _lagrange_integral(points: Sequence[float], k: int, start: float, end: float) -> float:
    """Integral of the k-th Lagrange polynomial through up to four points; two Gauss nodes are exact for cubics."""
    middle, half = (start + end) / 2, (end - start) / 2
    nodes = (middle - half / math.sqrt(3), middle + half / math.sqrt(3))
    others = [point for j, point in enumerate(points) if j != k]
    values = (math.prod((node - other) / (points[k] - other) for other in others) for node in nodes)
    return half * sum(values)
