"""A few concepts that are drawn as rectangles."""

from __future__ import annotations

import numpy as np

from emoji import Drawings
from scenes import Scenes

__all__ = ["RECTANGLES", "rectangles"]

RECTANGLES = ("apple", "bee", "blue ball", "night")


def rectangles() -> Scenes:
    """Each concept has a colour and a shape of its own."""
    colours = ((220, 30, 40), (240, 210, 20), (30, 60, 220), (40, 30, 40))
    drawn = np.zeros((len(RECTANGLES), 3, 128, 128, 4), np.uint8)
    for i, colour in enumerate(colours):
        drawn[i, :, 20 : 60 + 16 * i, 20 : 108 - 16 * i] = (*colour, 255)
    return Scenes(Drawings(RECTANGLES, (4,) * len(RECTANGLES), drawn))
