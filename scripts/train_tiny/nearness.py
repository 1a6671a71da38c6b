"""How far pictures are from what was asked for, and how sharp: what the judge forgives counts here."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from judge import farthest, thumb
from scenes import Scene, Scenes

__all__ = ["distance", "sharpness"]

STEP = 2
"""Pixels to one of the pictures that are compared, and between the places that are tried."""


def distance(scenes: Scenes, picture: Tensor, asked: Scene) -> float:
    """The least root mean square difference of a picture [128, 128, 3] in 0..1 from one drawing on white."""
    seen = F.avg_pool2d(picture.permute(2, 0, 1), STEP) - 1
    colours, alpha = thumb(scenes, asked, STEP).split((3, 1))
    drawing = colours - alpha  # beyond the sides it is cut off, where there is nothing of it
    common = F.conv2d(seen[None], drawing[None], padding=farthest(STEP)).max()
    least = float(seen.square().sum() + drawing.square().sum() - 2 * common)
    return (max(least, 0.0) / seen.numel()) ** 0.5


def sharpness(pictures: Tensor) -> float:
    """How much single pixels of [N, H, W, 3] differ from the mean of their neighbours: little where edges are soft."""
    pixels = pictures.permute(0, 3, 1, 2)
    around = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
    neighbours = around[..., 1:-1, 2:] + around[..., 1:-1, :-2] + around[..., 2:, 1:-1] + around[..., :-2, 1:-1]
    return float((pixels - neighbours / 4).abs().mean())
