"""How far pictures are from what was asked for: what the judge forgives, soft edges and parts awry, counts here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor, from_numpy
from torch.nn import functional as F

from emoji import SIZE, resized
from scenes import LEAST, Scene, Scenes

__all__ = ["distance"]

STEP = 2
"""Pixels to one of the pictures that are compared, and between the sizes and places that are tried."""


def distance(scenes: Scenes, picture: Tensor, asked: Scene) -> float:
    """The least root mean square difference of a picture [128, 128, 3] in 0..1 from one drawing on white."""
    seen = _small(picture) - 1
    least = min(_least_square(drawing, seen) for drawing in _sizes(scenes, asked))
    return (max(least, 0.0) / seen.numel()) ** 0.5


def _sizes(scenes: Scenes, asked: Scene) -> Iterator[Tensor]:
    """What the drawing adds to white, [3, s, s], at each size that it may have."""
    drawing = scenes.coloured(asked)
    for size in range(-(-round(LEAST * SIZE) // STEP) * STEP, SIZE + 1, STEP):
        colours, alpha = _small(from_numpy(resized(drawing, size).astype(np.float32) / 255)).split((3, 1))
        yield colours - alpha


def _least_square(drawing: Tensor, seen: Tensor) -> float:
    """The least sum of squared differences of what is seen from a drawing at any place."""
    common = F.conv2d(seen[None], drawing[None])
    return float(seen.square().sum() + drawing.square().sum() - 2 * common.max())


def _small(picture: Tensor) -> Tensor:
    """[H, W, C] as [C, H / 2, W / 2]."""
    return F.avg_pool2d(picture.permute(2, 0, 1), STEP)
