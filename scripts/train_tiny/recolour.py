"""Drawings in another colour: what has one colour of its own can be given another ("a blue car")."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["COLOURS", "colour_words", "main_hue", "recolour", "same_hue"]

COLOURS: Mapping[str, float] = {"red": 0.0, "orange": 0.08, "yellow": 0.145, "green": 0.36, "blue": 0.6, "purple": 0.77}
"""Hues, in turns."""
SATURATED, NEAR = 0.35, 0.07
OF_ONE_COLOUR, LARGE = 0.55, 0.4
WORDS = {*COLOURS, "pink", "brown", "black", "white", "gray", "grey", "golden", "silver", "light"}


def colour_words(name: str) -> bool:
    """Whether a name says a colour already."""
    return not WORDS.isdisjoint(name.split())


def main_hue(drawing: NDArray[np.uint8]) -> float | None:
    """The hue of a drawing [H, W, 4] that is mostly of one colour; None for one of several colours or none."""
    hue, saturation, _value, alpha = _hsva(drawing)
    seen, coloured = alpha > 0.5, (alpha > 0.5) & (saturation > SATURATED)
    if coloured.sum() < LARGE * seen.sum():
        return None
    counts, edges = np.histogram(hue[coloured], bins=60, range=(0, 1))
    middle = float(edges[counts.argmax()]) + 1 / 120
    return middle if (_distance(hue[coloured], middle) < NEAR).mean() > OF_ONE_COLOUR else None


def same_hue(hue: float | None, colour: str) -> bool:
    """Whether a drawing's hue, if it has one, is what `colour` names."""
    return hue is not None and bool(_distance(np.float32(hue), COLOURS[colour]) < NEAR)


def recolour(drawing: NDArray[np.uint8], hue: float, colour: str) -> NDArray[np.uint8]:
    """The drawing with the parts of its main `hue` turned to that of `colour`."""
    hues, saturation, value, alpha = _hsva(drawing)
    turned = np.where((_distance(hues, hue) < 2 * NEAR) & (saturation > 0.15), hues + COLOURS[colour] - hue, hues) % 1
    hsv = np.stack([turned, saturation, value], axis=-1)
    rgb = np.asarray(Image.fromarray((hsv * 255).round().astype(np.uint8), "HSV").convert("RGB"), np.float32)
    return np.concatenate([rgb * alpha[..., None], alpha[..., None] * 255], axis=-1).round().astype(np.uint8)


def _hsva(drawing: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    alpha = drawing[..., 3].astype(np.float32) / 255
    plain = (drawing[..., :3] / np.maximum(alpha, 1 / 255)[..., None]).clip(0, 255).astype(np.uint8)
    hsv = np.asarray(Image.fromarray(plain, "RGB").convert("HSV"), np.float32) / 255
    return hsv[..., 0], hsv[..., 1], hsv[..., 2], alpha


def _distance(hue: NDArray[np.float32], other: float) -> NDArray[np.float32]:
    apart = np.abs(hue - other)
    return np.minimum(apart, 1 - apart)
