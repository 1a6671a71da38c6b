"""Porter and Duff's operators, and blend modes with alpha (Porter and Duff 1984; W3C Compositing and Blending)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from graphexec.diffusion.imaging.batches import as_masks, cut_or_add_alpha
from graphexec.diffusion.imaging.resize import resize_picture, upscale

__all__ = ["Mode", "porter_duff"]

Mode = Literal[
    "ADD", "CLEAR", "DARKEN", "DST", "DST_ATOP", "DST_IN", "DST_OUT", "DST_OVER", "LIGHTEN", "MULTIPLY", "OVERLAY",
    "SCREEN", "SRC", "SRC_ATOP", "SRC_IN", "SRC_OUT", "SRC_OVER", "XOR",
]  # fmt: skip

INVISIBLE = 1e-5
"""Below this alpha a pixel has no color."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Colors times alpha [B,H,W,C], and alpha [B,H,W,1]."""

    color: Tensor
    alpha: Tensor


def porter_duff(
    source: Tensor, source_mask: Tensor, destination: Tensor, destination_mask: Tensor, mode: Mode
) -> tuple[Tensor, Tensor]:
    """Source over destination [B,H,W,C] with masks of what is transparent [B,H,W]: the picture and its mask.

    Everything takes the size of the destination (bicubic, cut to the middle) and its number of channels; as many
    pictures as the shortest of the four batches.
    """
    masks = [as_masks(mask) for mask in (source_mask, destination_mask)]
    count = min(len(batch) for batch in (source, destination, *masks))
    height, width = destination.shape[1:3]
    source = cut_or_add_alpha(source[:count], destination)
    if source.shape[1:3] != (height, width):
        source = resize_picture(source, width, height, "bicubic", "center")
    source_alpha, alpha = (1.0 - _fitted(mask[:count], width, height)[..., None] for mask in masks)
    over, under = Layer(source * source_alpha, source_alpha), Layer(destination[:count] * alpha, alpha)
    result = Layer(*MODES[mode](over, under))
    color = torch.where(result.alpha > INVISIBLE, result.color / result.alpha, torch.zeros_like(result.color))
    return color.clamp(0, 1), (1.0 - result.alpha)[..., 0]


def _fitted(masks: Tensor, width: int, height: int) -> Tensor:
    if masks.shape[-2:] == (height, width):
        return masks
    return upscale(masks[:, None], width, height, "bicubic", "center")[:, 0]


Pair = tuple[Tensor, Tensor]


def _union(s: Layer, d: Layer) -> Tensor:
    return s.alpha + d.alpha - s.alpha * d.alpha


def _outside(s: Layer, d: Layer) -> Tensor:
    return (1 - d.alpha) * s.color + (1 - s.alpha) * d.color


def _add(s: Layer, d: Layer) -> Pair:
    return (s.color + d.color).clamp(0, 1), (s.alpha + d.alpha).clamp(0, 1)


def _overlay(s: Layer, d: Layer) -> Pair:
    dark = 2 * s.color * d.color
    light = s.alpha * d.alpha - 2 * (d.alpha - s.color) * (s.alpha - d.color)
    return torch.where(2 * d.color < d.alpha, dark, light), _union(s, d)


MODES: Mapping[Mode, Callable[[Layer, Layer], Pair]] = {
    "ADD": _add,
    "CLEAR": lambda s, d: (torch.zeros_like(d.color), torch.zeros_like(d.alpha)),
    "DARKEN": lambda s, d: (_outside(s, d) + torch.min(s.color, d.color), _union(s, d)),
    "DST": lambda s, d: (d.color, d.alpha),
    "DST_ATOP": lambda s, d: (s.alpha * d.color + (1 - d.alpha) * s.color, s.alpha),
    "DST_IN": lambda s, d: (d.color * s.alpha, s.alpha * d.alpha),
    "DST_OUT": lambda s, d: ((1 - s.alpha) * d.color, (1 - s.alpha) * d.alpha),
    "DST_OVER": lambda s, d: (d.color + (1 - d.alpha) * s.color, d.alpha + (1 - d.alpha) * s.alpha),
    "LIGHTEN": lambda s, d: (_outside(s, d) + torch.max(s.color, d.color), _union(s, d)),
    "MULTIPLY": lambda s, d: (s.color * d.color, s.alpha * d.alpha),
    "OVERLAY": _overlay,
    "SCREEN": lambda s, d: (s.color + d.color - s.color * d.color, _union(s, d)),
    "SRC": lambda s, d: (s.color, s.alpha),
    "SRC_ATOP": lambda s, d: (d.alpha * s.color + (1 - s.alpha) * d.color, d.alpha),
    "SRC_IN": lambda s, d: (s.color * d.alpha, s.alpha * d.alpha),
    "SRC_OUT": lambda s, d: ((1 - d.alpha) * s.color, (1 - d.alpha) * s.alpha),
    "SRC_OVER": lambda s, d: (s.color + (1 - s.alpha) * d.color, s.alpha + (1 - s.alpha) * d.alpha),
    "XOR": lambda s, d: (_outside(s, d), (1 - d.alpha) * s.alpha + (1 - s.alpha) * d.alpha),
}
