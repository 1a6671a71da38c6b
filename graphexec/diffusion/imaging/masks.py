"""Masks: made from pictures, cut, grown, feathered."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.batches import as_masks

__all__ = ["Channel", "channel_mask", "color_mask", "crop_mask", "feather", "grow", "mask_picture", "threshold"]

Channel = Literal["red", "green", "blue", "alpha"]
CHANNELS = ("red", "green", "blue", "alpha")


def mask_picture(mask: Tensor) -> Tensor:
    """Grey pictures [B,H,W,3] of masks."""
    return as_masks(mask)[..., None].repeat(1, 1, 1, 3)


def channel_mask(picture: Tensor, channel: Channel) -> Tensor:
    """One channel of pictures [B,H,W,C] as masks [B,H,W]; the alpha of pictures without one is 1 everywhere.

    Grey pictures have the same red, green and blue. Raises LatentError for two channels, which are no picture.
    """
    channels, index = picture.shape[-1], CHANNELS.index(channel)
    if channels == 2:
        raise LatentError(f"a picture has 1, 3 or 4 channels, this one is {tuple(picture.shape)}")
    if channel == "alpha" and channels < 4:
        return torch.ones_like(picture[..., 0])
    return picture[..., 0 if channels == 1 else index].clone()


def color_mask(picture: Tensor, color: int) -> Tensor:
    """1 where pictures [B,H,W,C >= 3] have the color 0xRRGGBB in 8 bits, else 0."""
    if picture.shape[-1] < 3:
        raise LatentError(f"colors need pictures with 3 channels or more, this one is {tuple(picture.shape)}")
    pixels = (picture[..., :3].clamp(0, 1) * 255).round().int()
    wanted = torch.tensor([color >> shift & 0xFF for shift in (16, 8, 0)], device=picture.device)
    return (pixels == wanted).all(-1).float()


def crop_mask(mask: Tensor, x: int, y: int, width: int, height: int) -> Tensor:
    """The part of masks [B,H,W] at (x, y), cut off at their edges: nothing of them beyond, as ComfyUI does."""
    return as_masks(mask)[:, max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)].clone()


def threshold(mask: Tensor, value: float) -> Tensor:
    """1 where a mask of any shape is above a value, else 0."""
    return (mask > value).float()


def feather(mask: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Masks [B,H,W] that fade towards their edges over so many cells.

    As ComfyUI, whose pictures depend on it: on the right and at the bottom the fade is one cell shorter, its last
    step falling on the first column or row instead.
    """
    masks = as_masks(mask)
    height, width = masks.shape[-2:]
    masks = masks * _ramp(width, left) * _ramp_from_end(width, right)
    return masks * _ramp(height, top)[:, None] * _ramp_from_end(height, bottom)[:, None]


def _ramp(length: int, cells: int) -> Tensor:
    cells = min(max(cells, 0), length)
    rates = torch.ones(length)
    rates[:cells] = (torch.arange(cells, dtype=torch.float64) + 1).div(max(cells, 1)).float()
    return rates


def _ramp_from_end(length: int, cells: int) -> Tensor:
    """Rates of a ramp counted from the end, where the first one belongs to cell 0."""
    return _ramp(length, cells).flip(0).roll(1)


def grow(mask: Tensor, cells: int, tapered: bool) -> Tensor:
    """Masks [B,H,W] whose edges move outwards by so many cells, inwards if negative; tapered ones keep corners round.

    Grey dilation and erosion by a square, or by a cross over and over; beyond its edges a mask goes on as it ends.
    """
    masks = as_masks(mask)
    sign = 1.0 if cells >= 0 else -1.0
    steps = min(abs(cells), sum(masks.shape[-2:]))  # more cannot change anything
    grown = (masks * sign)[:, None]
    if steps and not tapered:
        grown = _highest(_highest(grown, 2 * steps + 1, 1), 1, 2 * steps + 1)
    for _ in range(steps if tapered else 0):
        grown = torch.maximum(_highest(grown, 3, 1), _highest(grown, 1, 3))
    return grown[:, 0] * sign


def _highest(masks: Tensor, height: int, width: int) -> Tensor:
    return F.max_pool2d(masks, (height, width), stride=1, padding=(height // 2, width // 2))
