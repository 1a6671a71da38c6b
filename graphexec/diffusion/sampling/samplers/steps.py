"""Formulas that several samplers share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = ["ancestral", "integrals", "lagrange", "mixed", "phi_2", "slope"]

Values = npt.NDArray[Any]
Weight = Callable[[Values], Values]

GAUSS_NODES = 32
"""Enough for exponentials over any step of a run."""


def slope(x: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """dx/dsigma."""
    return (x - denoised) / sigma


def ancestral(sigma: float, after: float, eta: float = 1.0) -> tuple[float, float]:
    """The level to go down to, and the noise to add to arrive at `after`."""
    up = min(after, eta * math.sqrt(max(after**2 * (sigma**2 - after**2) / sigma**2, 0.0)))
    return math.sqrt(after**2 - up**2), up


def phi_2(z: float) -> float:
    """(exp(z) - 1 - z) / z**2, the second weight of exponential integrators."""
    return (math.expm1(z) / z - 1) / z


def mixed(weights: Sequence[float], tensors: Sequence[Tensor]) -> Tensor:
    """The sum of tensors, each times its weight."""
    total = weights[0] * tensors[0]
    for weight, tensor in zip(weights[1:], tensors[1:], strict=True):
        total = total + weight * tensor
    return total


def integrals(points: Sequence[float], start: float, end: float, weight: Weight | None = None) -> list[float]:
    """Integrals of the Lagrange polynomials of `points`, times `weight` if there is one, by Gauss's rule."""
    nodes, weights = np.polynomial.legendre.leggauss(GAUSS_NODES if weight else len(points) // 2 + 1)
    half = (end - start) / 2
    at = start + half * (nodes + 1)
    weights = weights * half * (1.0 if weight is None else weight(at))
    return [float(weights @ lagrange(points, k, at)) for k in range(len(points))]


def lagrange(points: Sequence[float], k: int, at: Values) -> Values:
    """The polynomial that is 1 at the k-th point and 0 at the others."""
    value = np.ones_like(at)
    for j, point in enumerate(points):
        if j != k:
            value = value * (at - point) / (points[k] - point)
    return value
