"""Pictures, masks and latents at another size: the one resampling that every node uses."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from torch import Tensor

from graphexec.diffusion.faults import LatentError

__all__ = ["Crop", "Method", "center_crop", "resize_picture", "upscale"]

Method = Literal["nearest-exact", "bilinear", "area", "bicubic", "lanczos", "bislerp"]
Crop = Literal["disabled", "center"]

PARALLEL = 1e-5
"""Directions whose cosine is this close to 1 or -1 have no plane to turn in."""


def upscale(samples: Tensor, width: int, height: int, method: Method, crop: Crop = "disabled") -> Tensor:
    """Resample [B,C,H,W] to `width` x `height`; `crop` center cuts the longer side off first to keep proportions.

    Nothing is filtered before shrinking except by `area` and `lanczos`; `lanczos` goes through 8 bits. Raises
    LatentError for a size below 1.
    """
    if min(width, height, *samples.shape[-2:]) < 1:
        raise LatentError(
            f"{samples.shape[-1]} x {samples.shape[-2]} cannot be resized to {width} x {height}; "
            "every side must be at least 1"
        )
    source = center_crop(samples, width, height) if crop == "center" else samples
    if method == "bislerp":
        return _bislerp(source, width, height)
    if method == "lanczos":
        return torch.stack([_lanczos(item, width, height) for item in source]).to(samples)
    return F.interpolate(source, size=(height, width), mode=method)


def resize_picture(picture: Tensor, width: int, height: int, method: Method, crop: Crop = "disabled") -> Tensor:
    """Resample pictures [B,H,W,C], as `upscale`."""
    return upscale(picture.movedim(-1, 1), width, height, method, crop).movedim(1, -1)


def center_crop(samples: Tensor, width: int, height: int) -> Tensor:
    """The largest middle part of [...,H,W] with the proportions of `width` x `height`, at least one cell a side."""
    old_height, old_width = samples.shape[-2:]
    old, new = old_width / old_height, width / height
    x = min(round((old_width - old_width * (new / old)) / 2), (old_width - 1) // 2) if old > new else 0
    y = min(round((old_height - old_height * (old / new)) / 2), (old_height - 1) // 2) if old < new else 0
    return samples[..., y : old_height - y, x : old_width - x]


def _lanczos(item: Tensor, width: int, height: int) -> Tensor:
    """[C,H,W] through Pillow in 8 bits: four channels as colors that alpha weights, others each for itself."""
    pixels = np.clip(255.0 * item.float().cpu().numpy(), 0, 255).astype(np.uint8)
    if len(pixels) == 4:
        resized = [np.moveaxis(_resized(np.moveaxis(pixels, 0, -1), width, height), -1, 0)]
    else:
        resized = [_resized(channel, width, height)[None] for channel in pixels]
    return torch.from_numpy(np.concatenate(resized).astype(np.float32) / 255.0)


def _resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Pillow.fromarray(np.ascontiguousarray(pixels)).resize((width, height), Pillow.Resampling.LANCZOS))


def _bislerp(samples: Tensor, width: int, height: int) -> Tensor:
    """Turn the channels of neighbours into each other along the sphere, one axis after the other."""
    cells = samples.float().movedim(1, -1)
    cells = _slerp_along(_slerp_along(cells, 2, width), 1, height)
    return cells.movedim(-1, 1).to(samples.dtype)


def _slerp_along(cells: Tensor, dim: int, size: int) -> Tensor:
    position = _positions(cells.shape[dim], size, cells.device)
    left = position.long()
    right = (left + 1).clamp(max=cells.shape[dim] - 1)
    ratio = (position - left).reshape([-1 if axis == dim else 1 for axis in range(4)])
    return _slerp(cells.index_select(dim, left), cells.index_select(dim, right), ratio)


def _positions(old: int, new: int, device: torch.device) -> Tensor:
    """Where each of `new` cells lies among `old` ones, in cells."""
    cells = torch.arange(old, dtype=torch.float32, device=device).reshape(1, 1, 1, -1)
    return F.interpolate(cells, size=(1, new), mode="bilinear").flatten()


def _slerp(start: Tensor, end: Tensor, ratio: Tensor) -> Tensor:
    """Spherical interpolation over the last dimension, lengths linearly; parallel directions keep the start.

    ComfyUI's rule for parallel directions, and its order of operations: near opposite ones rounding is magnified.
    """
    start_length, end_length = (vector.norm(dim=-1, keepdim=True) for vector in (start, end))
    start_unit, end_unit = (start / start_length).nan_to_num(0.0), (end / end_length).nan_to_num(0.0)
    cosine = (start_unit * end_unit).sum(-1, keepdim=True)
    angle = torch.acos(cosine)
    sine = angle.sin()
    direction = ((1.0 - ratio) * angle).sin() / sine * start_unit + (ratio * angle).sin() / sine * end_unit
    turned = direction * (start_length * (1.0 - ratio) + end_length * ratio)
    turned = torch.where(cosine > 1 - PARALLEL, start, turned)
    return torch.where(cosine < PARALLEL - 1, start * (1.0 - ratio) + end * ratio, turned)
