"""Two pictures blended by a mode and a share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from graphexec.diffusion.imaging.batches import cut_or_add_alpha, paired
from graphexec.diffusion.imaging.resize import resize_picture

__all__ = ["BlendMode", "blend"]

BlendMode = Literal["normal", "multiply", "screen", "overlay", "soft_light", "difference"]


def blend(first: Tensor, second: Tensor, share: float, mode: BlendMode) -> Tensor:
    """Pictures [B,H,W,C]: the first, and a share (0 to 1) of both blended; the second takes the first's size.

    The second loses or gets an (opaque) alpha as the first has one; the shorter batch is repeated.
    """
    second = cut_or_add_alpha(second, first)
    if first.shape[1:3] != second.shape[1:3]:
        second = resize_picture(second, first.shape[2], first.shape[1], "bicubic", "center")
    first, second = paired(first, second)
    return (first * (1 - share) + MODES[mode](first, second) * share).clamp(0, 1)


def _overlay(first: Tensor, second: Tensor) -> Tensor:
    return torch.where(first <= 0.5, 2 * first * second, 1 - 2 * (1 - first) * (1 - second))


def _soft_light(first: Tensor, second: Tensor) -> Tensor:
    """W3C's soft light."""
    curve = torch.where(first <= 0.25, ((16 * first - 12) * first + 4) * first, torch.sqrt(first))
    darker = first - (1 - 2 * second) * first * (1 - first)
    return torch.where(second <= 0.5, darker, first + (2 * second - 1) * (curve - first))


MODES: Mapping[BlendMode, Callable[[Tensor, Tensor], Tensor]] = {
    "normal": lambda first, second: second,
    "multiply": torch.mul,
    "screen": lambda first, second: 1 - (1 - first) * (1 - second),
    "overlay": _overlay,
    "soft_light": _soft_light,
    "difference": torch.sub,
}
