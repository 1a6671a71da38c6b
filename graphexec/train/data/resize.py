"""Pictures at another size, as sd-scripts resizes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_array  # pyright: ignore[reportMissingTypeStubs]

from graphexec.train.data.buckets import Size

__all__ = ["resized"]

Pixels = NDArray[np.float32]


def resized(pixels: Pixels, size: Size) -> Pixels:
    """[H, W, C] in 0..1 at `size`: means over areas to shrink (OpenCV's INTER_AREA), else Lanczos (Pillow's)."""
    width, height = size
    if pixels.shape[:2] == (height, width):
        return pixels
    if width > pixels.shape[1] or height > pixels.shape[0]:
        return _lanczos(pixels, size)
    rows = _means_along(pixels, height)
    return np.ascontiguousarray(_means_along(rows.swapaxes(0, 1), width).swapaxes(0, 1))


def _lanczos(pixels: Pixels, size: Size) -> Pixels:
    channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(pixels, -1, 0)]
    large = [np.asarray(channel.resize(size, Image.Resampling.LANCZOS)) for channel in channels]
    return np.stack(large, axis=-1).clip(0, 1)


def _means_along(pixels: Pixels, length: int) -> Pixels:
    """[N, M, C] to [length, M, C], each the mean of what it covers of the first axis."""
    if len(pixels) == length:
        return pixels
    flat = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    return (_coverage(len(pixels), length) @ flat).reshape(length, *pixels.shape[1:])


def _coverage(length: int, new: int) -> csr_array:
    """Rows say how much of each of `length` cells lies in one of `new` cells of the same whole; they add up to 1."""
    scale = length / new
    starts = np.arange(new)[:, None] * scale
    cells = np.floor(starts) + np.arange(int(np.ceil(scale)) + 1)
    shares = (np.minimum(cells + 1, starts + scale) - np.maximum(cells, starts)).clip(0) / scale
    rows = np.broadcast_to(np.arange(new)[:, None], cells.shape)
    real = (shares > 0) & (cells < length)
    return csr_array((shares[real].astype(np.float32), (rows[real], cells[real].astype(np.int64))), shape=(new, length))
