"""Which size a picture is scaled to: by a factor, to an area, to a longest side, into a frame."""

from __future__ import annotations

import math

from torch import Tensor

from graphexec.diffusion.imaging.resize import Crop, Method, resize_picture

__all__ = ["fit_into", "scale", "scale_by", "scale_to_longest", "scale_to_megapixels"]

MEGAPIXEL = 1024 * 1024


def scale(picture: Tensor, width: int, height: int, method: Method, crop: Crop) -> Tensor:
    """Pictures [B,H,W,C] at `width` x `height`; a side of 0 follows from the other, two change nothing."""
    if width == height == 0:
        return picture
    old_height, old_width = picture.shape[1:3]
    width = width or max(1, round(old_width * height / old_height))
    height = height or max(1, round(old_height * width / old_width))
    return resize_picture(picture, width, height, method, crop)


def scale_by(picture: Tensor, factor: float, method: Method) -> Tensor:
    """Pictures [B,H,W,C] with both sides times `factor`, at least one pixel."""
    height, width = (max(1, round(side * factor)) for side in picture.shape[1:3])
    return resize_picture(picture, width, height, method)


def scale_to_megapixels(picture: Tensor, megapixels: float, method: Method) -> Tensor:
    """Pictures [B,H,W,C] with about so many times 1024 x 1024 pixels."""
    pixels = int(megapixels * MEGAPIXEL)
    return scale_by(picture, math.sqrt(pixels / (picture.shape[2] * picture.shape[1])), method)


def scale_to_longest(picture: Tensor, longest: int, method: Method) -> Tensor:
    """Pictures [B,H,W,C] whose longer side has `longest` pixels."""
    height, width = picture.shape[1:3]
    new_width = longest if width >= height else max(1, round(width / height * longest))
    new_height = longest if height >= width else max(1, round(height / width * longest))
    return resize_picture(picture, new_width, new_height, method)


def fit_into(picture: Tensor, width: int, height: int, fill: float, method: Method) -> Tensor:
    """Pictures [B,H,W,C] as large as fits into `width` x `height`, in the middle, the rest filled."""
    old_height, old_width = picture.shape[1:3]
    factor = min(width / old_width, height / old_height)
    new_width, new_height = max(1, int(old_width * factor)), max(1, int(old_height * factor))
    left, top = (width - new_width) // 2, (height - new_height) // 2
    frame = picture.new_full((len(picture), height, width, picture.shape[-1]), fill)
    frame[:, top : top + new_height, left : left + new_width] = resize_picture(picture, new_width, new_height, method)
    return frame
