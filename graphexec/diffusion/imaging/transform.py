"""Pictures cut, turned, put side by side, extended and put together."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.batches import same_channels
from graphexec.diffusion.imaging.resize import resize_picture

__all__ = ["Direction", "batch", "crop", "outpaint_frame", "solid", "stitch"]

Direction = Literal["right", "down", "left", "up"]


def solid(width: int, height: int, count: int, color: int) -> Tensor:
    """Pictures [count,height,width,3] of one color, 0xRRGGBB."""
    channels = torch.tensor([(color >> shift & 0xFF) / 0xFF for shift in (16, 8, 0)], dtype=torch.float32)
    return channels.repeat(count, height, width, 1)


def batch(first: Tensor, second: Tensor) -> Tensor:
    """Both batches [B,H,W,C] as one; the second takes the size of the first, and either gets an opaque alpha."""
    first, second = same_channels(first, second)
    if first.shape[1:3] != second.shape[1:3]:
        second = resize_picture(second, first.shape[2], first.shape[1], "bilinear", "center")
    return torch.cat([first, second])


def crop(picture: Tensor, x: int, y: int, width: int, height: int) -> Tensor:
    """The part of pictures [B,H,W,C] at (x, y), cut off at their edges; a corner beyond them is the last pixel.

    Raises LatentError if the part ends before the first pixel.
    """
    left, top = min(x, picture.shape[2] - 1), min(y, picture.shape[1] - 1)
    part = picture[:, max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
    if part.numel() == 0:
        raise LatentError(f"{width} x {height} at ({x}, {y}) holds no pixel of {picture.shape[2]} x {picture.shape[1]}")
    return part


def outpaint_frame(
    picture: Tensor, left: int, top: int, right: int, bottom: int, feathering: int
) -> tuple[Tensor, Tensor]:
    """Pictures [B,H,W,C] with grey around them, and a mask [1,H,W] of what is new, which fades into the picture.

    Nothing fades where twice the feathering does not fit into the picture. Raises LatentError for negative margins.
    """
    if min(left, top, right, bottom) < 0:
        raise LatentError(f"margins {left}, {top}, {right}, {bottom} (left, top, right, bottom): none may be negative")
    height, width = picture.shape[1:3]
    framed = F.pad(picture, (0, 0, left, right, top, bottom), value=0.5)
    inside = torch.zeros(height, width, dtype=torch.float64)
    if 0 < feathering * 2 < min(height, width):
        rows = _to_edge(height, bool(top), bool(bottom))
        columns = _to_edge(width, bool(left), bool(right))
        near = torch.minimum(rows[:, None], columns[None]).clamp(max=feathering)
        inside = ((feathering - near) / feathering) ** 2
    return framed, F.pad(inside.float()[None], (left, right, top, bottom), value=1.0)


def _to_edge(length: int, before: bool, after: bool) -> Tensor:
    """How far each cell is from the ends that are extended; `length` where none is."""
    cells = torch.arange(length, dtype=torch.float64)
    far = torch.full_like(cells, length)
    return torch.minimum(cells if before else far, length - cells if after else far)


SPACING: dict[str, tuple[float, float, float]] = {
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
}


def stitch(first: Tensor, second: Tensor, direction: Direction, match: bool, spacing: int, color: str) -> Tensor:
    """Two batches [B,H,W,C] side by side: the second lies right of, below, left of or above the first.

    With `match` the second takes the height (or width) of the first, else the smaller one gets bars of white or
    black. An odd `spacing` grows by one. The last picture of the shorter batch is repeated.
    """
    axis = 2 if direction in ("left", "right") else 1
    count = max(len(first), len(second))
    first, second = _last_repeated(first, count), _last_repeated(second, count)
    second = _matched(second, first, axis) if match else second
    side = max(first.shape[3 - axis], second.shape[3 - axis])
    bars = 1.0 if color == "white" else 0.0
    first, second = same_channels(_centered(first, 3 - axis, side, bars), _centered(second, 3 - axis, side, bars))
    shape = [count, side, side, first.shape[-1]]
    shape[axis] = spacing + spacing % 2
    gap = _colored(first.new_ones(shape), color)
    return torch.cat([second, gap, first] if direction in ("left", "up") else [first, gap, second], dim=axis)


def _last_repeated(pictures: Tensor, count: int) -> Tensor:
    return torch.cat([pictures, pictures[-1:].repeat(count - len(pictures), 1, 1, 1)])


def _matched(picture: Tensor, like: Tensor, axis: int) -> Tensor:
    """The picture resized to the height (axis 2) or width (axis 1) of another, in proportion."""
    aspect = picture.shape[2] / picture.shape[1]
    height, width = like.shape[1:3]
    if axis == 2:
        return resize_picture(picture, max(1, int(height * aspect)), height, "lanczos")
    return resize_picture(picture, width, max(1, int(width / aspect)), "lanczos")


def _centered(picture: Tensor, axis: int, side: int, fill: float) -> Tensor:
    lacking = side - picture.shape[axis]
    ends = (lacking // 2, lacking - lacking // 2)
    return F.pad(picture, (0, 0, 0, 0, *ends) if axis == 1 else (0, 0, *ends), value=fill)


def _colored(gap: Tensor, color: str) -> Tensor:
    """Alpha stays 1."""
    shown = min(3, gap.shape[-1])
    gap[..., :shown] = torch.tensor(SPACING[color][:shown]).to(gap)
    return gap
