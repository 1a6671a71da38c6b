"""Pictures with few colors, through Pillow's palettes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from graphexec.diffusion.imaging.batches import need_channels

__all__ = ["Dither", "quantize"]

Dither = Literal["none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16"]


def quantize(picture: Tensor, colors: int, dither: Dither) -> Tensor:
    """Pictures [B,H,W,C >= 3] in a palette of their own of at most 256 colors; alpha is kept."""
    need_channels(picture, 3, "the palette")
    pixels = (picture[..., :3] * 255).clamp(0, 255).to(torch.uint8).numpy()
    found = np.stack([_quantized(frame, colors, dither) for frame in pixels]).astype(np.float32)
    return torch.cat([torch.from_numpy(found) / 255, picture[..., 3:]], dim=-1)


def _quantized(pixels: NDArray[np.uint8], colors: int, dither: Dither) -> NDArray[np.uint8]:
    frame = Pillow.fromarray(pixels)
    palette = frame.quantize(colors=colors)
    if dither.startswith("bayer"):
        frame = _ordered(pixels, int(dither.removeprefix("bayer-")), len(palette.getpalette() or ()) // 3)
    spread = Pillow.Dither.FLOYDSTEINBERG if dither == "floyd-steinberg" else Pillow.Dither.NONE
    return np.asarray(frame.quantize(palette=palette, dither=spread).convert("RGB"))


def _ordered(pixels: NDArray[np.uint8], order: int, colors: int) -> Pillow.Image:
    """Ordered dithering (Bayer 1973) over about two steps of the palette."""
    pattern = 2 * 256 / colors * _bayer(order) + 0.5
    rows, columns = (np.arange(side) % order for side in pixels.shape[:2])
    shifted = pixels.astype(np.float32) + pattern[np.ix_(rows, columns)][..., None]
    return Pillow.fromarray(shifted.clip(0, 255).astype(np.uint8))


def _bayer(order: int) -> NDArray[np.float32]:
    """Bayer's matrix of a power of two, from below -0.5 to 0.5."""
    if order == 1:
        return np.zeros((1, 1), np.float32)
    smaller, cells = _bayer(order // 2), order * order
    return np.block([[smaller - 1.5 / cells, smaller + 0.5 / cells], [smaller + 1.5 / cells, smaller - 0.5 / cells]])
