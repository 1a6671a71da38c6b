"""Formulas that several samplers share."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["ancestral", "slope"]


def slope(x: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """dx/dsigma."""
    return (x - denoised) / sigma


def ancestral(sigma: float, after: float, eta: float = 1.0) -> tuple[float, float]:
    """The level to go down to, and the noise to add to arrive at `after`."""
    up = min(after, eta * math.sqrt(max(after**2 * (sigma**2 - after**2) / sigma**2, 0.0)))
    return math.sqrt(after**2 - up**2), up
