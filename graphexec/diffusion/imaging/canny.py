"""Edges after Canny 1986: blurred, thinned along the gradient, and kept where they hang on a strong one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.color import luma
from graphexec.diffusion.imaging.filters import reflected

__all__ = ["canny"]

RADIUS = 2
SIGMA = 1.0
EPSILON = 1e-6
NEIGHBOURS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""Steps (down, right) to the eight neighbours, clockwise from the right: where gradients of 0, 45, … degrees point."""


def canny(picture: Tensor, low: float, high: float) -> Tensor:
    """Edges of pictures [B,H,W,C] as white on black [B,H,W,3]; thresholds of the gradient, as kornia's `canny`.

    Raises LatentError if `low` is above `high`.
    """
    if low > high:
        raise LatentError(f"low_threshold {low} is above high_threshold {high}; it must not be")
    grey = luma(picture) if picture.shape[-1] >= 3 else picture[..., 0]
    gradient_x, gradient_y = _sobel(_blurred(grey[:, None]))
    strength = torch.sqrt(gradient_x * gradient_x + gradient_y * gradient_y + EPSILON)
    ridge = strength * _highest_across(strength, torch.atan2(gradient_y, gradient_x))
    edges = _connected(ridge > low, ridge > high)
    return edges.to(picture.dtype).movedim(1, -1).repeat(1, 1, 1, 3)


def _blurred(grey: Tensor) -> Tensor:
    """[B,1,H,W] through a Gaussian of 5 x 5 pixels."""
    reach = torch.arange(-RADIUS, RADIUS + 1, dtype=grey.dtype)
    weights = torch.exp(-(reach**2) / (2 * SIGMA**2))
    weights = weights / weights.sum()
    padded = reflected(grey, RADIUS)
    return F.conv2d(F.conv2d(padded, weights.reshape(1, 1, 1, -1)), weights.reshape(1, 1, -1, 1))


def _sobel(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients to the right and down; the edge pixels go on beyond the edges."""
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=grey.dtype)
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, kernel[None, None]), F.conv2d(padded, kernel.T[None, None])


def _highest_across(strength: Tensor, angle: Tensor) -> Tensor:
    """Where the strength exceeds that of both neighbours along the gradient, whose angle is rounded to 45 degrees."""
    direction = torch.round(torch.rad2deg(angle) / 45).long() % 8
    neighbours = torch.cat([_shifted(strength, step) for step in NEIGHBOURS], dim=1)
    ahead, behind = (neighbours.gather(1, (direction + turn) % 8) for turn in (0, 4))
    return strength > torch.maximum(ahead, behind)


def _shifted(samples: Tensor, step: tuple[int, int]) -> Tensor:
    """What each pixel's neighbour holds; 0 beyond the edges."""
    down, right = step
    height, width = samples.shape[-2:]
    return F.pad(samples, (1, 1, 1, 1))[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]


def _connected(weak: Tensor, strong: Tensor) -> Tensor:
    """Pixels of `weak` that a chain of such pixels joins to `strong` ones."""
    reached = strong
    while True:
        grown = (F.max_pool2d(reached.float(), 3, stride=1, padding=1) > 0) & weak | strong
        if torch.equal(grown, reached):
            return reached
        reached = grown
