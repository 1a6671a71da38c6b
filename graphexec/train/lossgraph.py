"""The losses of a run as a picture, drawn with Pillow alone: a graph that trains needs no plotting library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from graphexec.train.faults import TrainingError
from graphexec.train.plot import smoothed

__all__ = ["SIZE", "loss_graph"]

SIZE = (840, 520)
MARGIN = 60
FAINT, STRONG, INK = (170, 200, 240), (31, 90, 180), (40, 40, 40)


def loss_graph(losses: Sequence[float]) -> Tensor:
    """A picture [1, H, W, 3] in 0..1: every loss faintly, the moving mean over it, highest and lowest at the axis."""
    if not losses:
        raise TrainingError("there are no losses to draw")
    picture = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(picture)
    low, high = min(losses), max(losses)
    _axes(draw, low, high, len(losses))
    for values, color, width in ((losses, FAINT, 1), (smoothed(losses), STRONG, 2)):
        _curve(draw, [_place(i, value, low, high, len(losses)) for i, value in enumerate(values)], color, width)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255.0)[None]


def _axes(draw: ImageDraw.ImageDraw, low: float, high: float, steps: int) -> None:
    right, bottom = SIZE[0] - MARGIN, SIZE[1] - MARGIN
    draw.line([(MARGIN, MARGIN), (MARGIN, bottom), (right, bottom)], fill=INK, width=2)
    for value, y in ((high, MARGIN), (low, bottom)):
        draw.text((MARGIN - 6, y), f"{value:.4g}", fill=INK, anchor="rm")
    for step, x in ((1, MARGIN), (steps, right)):
        draw.text((x, bottom + 8), str(step), fill=INK, anchor="mt")
    draw.text((SIZE[0] // 2, bottom + 28), "step", fill=INK, anchor="mt")
    draw.text((MARGIN, MARGIN - 16), "loss", fill=INK, anchor="mb")


def _place(step: int, value: float, low: float, high: float, steps: int) -> tuple[float, float]:
    """Where a loss is drawn; a loss that never changes in the middle."""
    across = step / (steps - 1) if steps > 1 else 0.5
    up = (value - low) / (high - low) if high > low else 0.5
    return MARGIN + across * (SIZE[0] - 2 * MARGIN), SIZE[1] - MARGIN - up * (SIZE[1] - 2 * MARGIN)


def _curve(
    draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], color: tuple[int, int, int], width: int
) -> None:
    if len(points) == 1:
        draw.circle(points[0], 2 * width, fill=color)
    else:
        draw.line(list(points), fill=color, width=width, joint="curve")
