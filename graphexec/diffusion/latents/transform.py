"""Latents cut, turned, joined, resized and laid over each other; sizes in pixels are those of the pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.batches import repeat_to
from graphexec.diffusion.imaging.compositing import paste
from graphexec.diffusion.imaging.resize import Crop, Method, upscale
from graphexec.diffusion.types import DOWNSCALE, Latent

__all__ = [
    "CutDim",
    "FlipAxis",
    "JoinDim",
    "Rotation",
    "composite",
    "concat",
    "crop",
    "cut",
    "flip",
    "rotate",
    "upscale_by",
    "upscale_to",
]

FlipAxis = Literal["x-axis: vertically", "y-axis: horizontally"]
Rotation = Literal["none", "90 degrees", "180 degrees", "270 degrees"]
JoinDim = Literal["x", "-x", "y", "-y", "t", "-t"]
CutDim = Literal["x", "y", "t"]

SMALLEST = 8
"""ComfyUI crops no closer to the far edges than this, in cells."""
DIMS = {"x": -1, "y": -2, "t": -3}
"""`t` is time in videos; in pictures it is the channels."""


def flip(latent: Latent, axis: FlipAxis) -> Latent:
    """Latents upside down, or left to right."""
    return replace(latent, samples=latent.samples.flip(-2 if axis.startswith("x") else -1))


def rotate(latent: Latent, rotation: Rotation) -> Latent:
    """Latents turned clockwise."""
    turns = 0 if rotation == "none" else int(rotation.split()[0]) // 90
    return replace(latent, samples=latent.samples.rot90(turns, (3, 2)))


def crop(latent: Latent, width: int, height: int, x: int, y: int) -> Latent:
    """A rectangle of the latents; it starts at least 64 pixels from the right and lower edges, and ends at them."""
    rows, columns = latent.samples.shape[-2:]
    left, top = (max(min(at // DOWNSCALE, side - SMALLEST), 0) for at, side in ((x, columns), (y, rows)))
    taken = latent.samples[..., top : top + height // DOWNSCALE, left : left + width // DOWNSCALE]
    return replace(latent, samples=taken.clone())


def cut(latent: Latent, dim: CutDim, index: int, amount: int) -> Latent:
    """`amount` columns, rows or channels from `index` on, which counts from the end if negative; at least one."""
    along = DIMS[dim]
    side = latent.samples.shape[along]
    start = min(index, side - 1) if index >= 0 else max(index, -side) + side
    return replace(latent, samples=latent.samples.narrow(along, start, min(amount, side - start)).clone())


def concat(first: Latent, second: Latent, dim: JoinDim) -> Latent:
    """Both side by side, above each other or channel after channel; with a minus the second comes first.

    The second is cut or repeated to the first's batch. Raises `LatentError` if the other sides differ.
    """
    along = DIMS[dim.removeprefix("-")]
    parts = (first.samples, repeat_to(second.samples, len(first.samples)))
    sides = [[*part.shape[:along], *part.shape[along:][1:]] for part in parts]
    if sides[0] != sides[1]:
        raise LatentError(
            f"latents {tuple(first.samples.shape)} and {tuple(second.samples.shape)} cannot be joined along {dim}:"
            " all other sides must be as long"
        )
    return replace(first, samples=torch.cat(parts[::-1] if dim.startswith("-") else parts, along))


def upscale_to(latent: Latent, method: Method, width: int, height: int, crop_to: Crop) -> Latent:
    """Latents resampled for pictures of `width` x `height` (64 at least); a side of 0 follows from the other."""
    if width == 0 and height == 0:
        return latent
    rows, columns = latent.samples.shape[-2:]
    width, height = width and max(64, width), height and max(64, height)
    width = width or max(64, round(columns * height / rows))
    height = height or max(64, round(rows * width / columns))
    samples = upscale(latent.samples, width // DOWNSCALE, height // DOWNSCALE, method, crop_to)
    return replace(latent, samples=samples)


def upscale_by(latent: Latent, method: Method, factor: float) -> Latent:
    """Latents resampled to so many times their sides."""
    rows, columns = (max(1, round(side * factor)) for side in latent.samples.shape[-2:])
    return replace(latent, samples=upscale(latent.samples, columns, rows, method))


def composite(under: Latent, over: Latent, x: int, y: int, feather: int) -> Latent:
    """Latents laid over others at a pixel; `feather` pixels fade in from edges that are not those of the picture."""
    left, top, fade = (pixels // DOWNSCALE for pixels in (x, y, feather))
    mask = _feathered(over.samples, under.samples, left, top, fade) if fade else None
    return replace(under, samples=paste(under.samples, over.samples, left, top, mask, resize=False))


def _feathered(over: Tensor, under: Tensor, left: int, top: int, fade: int) -> Tensor:
    """1 where `over` is shown; less towards edges that lie inside of `under`."""
    mask = torch.ones(1, *over.shape[-2:], dtype=over.dtype)
    for dim, start in ((1, top), (2, left)):
        side, room = mask.shape[dim], under.shape[dim + 1]
        for t in range(min(fade, side)):
            weight = (1.0 / fade) * (t + 1)
            if start > 0:
                mask.narrow(dim, t, 1).mul_(weight)
            if start + side < room:
                mask.narrow(dim, side - 1 - t, 1).mul_(weight)
    return mask
