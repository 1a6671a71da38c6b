"""Color spaces: grey and YCbCr (ITU-R BT.601, full range)."""

from __future__ import annotations

import torch
from torch import Tensor

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.batches import need_channels, repeat_to

__all__ = ["luma", "rgb_to_yuv", "yuv_to_rgb"]

MIDDLE = 0.5
"""Where no color is on the U and V scales."""

RED, GREEN, BLUE = 0.299, 0.587, 0.114
U_SCALE, V_SCALE = 0.564, 0.713
RED_OF_V, BLUE_OF_U = 1 / V_SCALE, 1 / U_SCALE
GREEN_OF_V, GREEN_OF_U = RED / GREEN * RED_OF_V, BLUE / GREEN * BLUE_OF_U


def luma(picture: Tensor) -> Tensor:
    """Brightness [...] of colors [..., C >= 3]."""
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    return RED * red + GREEN * green + BLUE * blue


def rgb_to_yuv(picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Y, U and V of pictures [B,H,W,C >= 3], each a grey picture [B,H,W,3]."""
    need_channels(picture, 3, "the YUV conversion")
    y = luma(picture)
    u = (picture[..., 2] - y) * U_SCALE + MIDDLE
    v = (picture[..., 0] - y) * V_SCALE + MIDDLE
    return _grey(y), _grey(u), _grey(v)


def yuv_to_rgb(y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Pictures [B,H,W,3] from grey pictures of Y, U and V (the mean of their channels), cut off at 0 and 1.

    Raises LatentError where they are of different sizes.
    """
    sizes = [tuple(picture.shape[1:3]) for picture in (y, u, v)]
    if len(set(sizes)) > 1:
        raise LatentError(f"Y, U and V have to be of one height and width, these are {', '.join(map(str, sizes))}")
    channels = [picture.mean(-1) for picture in (y, u, v)]
    count = max(map(len, channels))
    y, u, v = (repeat_to(channel, count) for channel in channels)
    u, v = u - MIDDLE, v - MIDDLE
    return torch.stack([y + RED_OF_V * v, y - GREEN_OF_V * v - GREEN_OF_U * u, y + BLUE_OF_U * u], dim=-1).clamp(0, 1)


def _grey(channel: Tensor) -> Tensor:
    return channel[..., None].repeat(1, 1, 1, 3)
