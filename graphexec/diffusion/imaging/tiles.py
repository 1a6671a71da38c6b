"""Pictures worked on in overlapping tiles that fade into each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor

__all__ = ["tile_count", "tiled"]


def tiled(
    samples: Tensor,
    function: Callable[[Tensor], Tensor],
    scale: int,
    tile: int,
    overlap: int,
    done: Callable[[], None] = lambda: None,
) -> Tensor:
    """`function` over [B,C,H,W] tile by tile, on the CPU; it makes [1,C',h,w] of them `scale` times as large.

    Tiles of `tile` cells a side overlap by `overlap` cells, over which each fades in a straight line. `done` is
    called after each tile.
    """
    return torch.cat([_one(item, function, scale, tile, overlap, done) for item in samples.split(1)])


def tile_count(samples: Tensor, tile: int, overlap: int) -> int:
    """How many tiles there are of [B,C,H,W]."""
    height, width = samples.shape[-2:]
    return len(samples) * len(_starts(height, tile, overlap)) * len(_starts(width, tile, overlap))


def _one(
    item: Tensor,
    function: Callable[[Tensor], Tensor],
    scale: int,
    tile: int,
    overlap: int,
    done: Callable[[], None],
) -> Tensor:
    height, width = item.shape[-2:]
    total, weight = torch.zeros(()), torch.zeros(())
    for top, left in _places(height, width, tile, overlap):
        part = function(item[..., top : top + tile, left : left + tile]).float().cpu()
        if part.shape[-2:] == (height * scale, width * scale):
            done()
            return part
        if not total.ndim:
            total = part.new_zeros(*part.shape[:2], height * scale, width * scale)
            weight = part.new_zeros(1, 1, height * scale, width * scale)
        rows = slice(top * scale, top * scale + part.shape[-2])
        columns = slice(left * scale, left * scale + part.shape[-1])
        fade = _fade(part.shape[-2], overlap * scale)[:, None] * _fade(part.shape[-1], overlap * scale)
        total[..., rows, columns] += part * fade
        weight[..., rows, columns] += fade
        done()
    return total / weight


def _places(height: int, width: int, tile: int, overlap: int) -> Iterator[tuple[int, int]]:
    return product(_starts(height, tile, overlap), _starts(width, tile, overlap))


def _starts(side: int, tile: int, overlap: int) -> range:
    """Where tiles begin; the last one may be smaller, but not only overlap."""
    return range(0, side - overlap, tile - overlap) if side > tile else range(1)


def _fade(length: int, ramp: int) -> Tensor:
    """Weights that rise over `ramp` cells at the start and fall at the end; 1 where the ramp does not fit."""
    weights = torch.ones(length)
    if 0 < ramp < length:
        rise = torch.arange(1, ramp + 1, dtype=torch.float64).div(ramp).float()
        weights[:ramp] *= rise
        weights[-ramp:] *= rise.flip(0)
    return weights
