"""How far pictures are from what was asked for: what the judge forgives, soft edges and parts awry, counts here."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from judge import thumbs
from scenes import Scene, Scenes

__all__ = ["distance"]

STEP = 2
"""Pixels to one of the pictures that are compared, and between the sizes and places that are tried."""


def distance(scenes: Scenes, picture: Tensor, asked: Scene) -> float:
    """The least root mean square difference of a picture [128, 128, 3] in 0..1 from one drawing on white."""
    seen = F.avg_pool2d(picture.permute(2, 0, 1), STEP) - 1
    least = min(_least_square(thumb, seen) for thumb in thumbs(scenes, asked, STEP))
    return (max(least, 0.0) / seen.numel()) ** 0.5


def _least_square(thumb: Tensor, seen: Tensor) -> float:
    """The least sum of squared differences of what is seen, less white, from a drawing [4, s, s] at any place."""
    colours, alpha = thumb.split((3, 1))
    drawing = colours - alpha
    common = F.conv2d(seen[None], drawing[None])
    return float(seen.square().sum() + drawing.square().sum() - 2 * common.max())
