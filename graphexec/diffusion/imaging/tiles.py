"""Pictures worked on in overlapping tiles that fade into each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

__all__ = ["TileWork", "Tiling"]


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles of `width` x `height` cells, of which neighbours share `overlap`, over which each fades in a line."""

    width: int
    height: int
    overlap: int

    def count(self, samples: Tensor, grain: int = 1) -> int:
        """How many tiles there are of [B,C,H,W] with `grain` rows and columns a cell."""
        rows, columns = (side // grain for side in samples.shape[-2:])
        return len(samples) * len(list(self.places(rows, columns)))

    def places(self, rows: int, columns: int) -> Iterator[tuple[int, int]]:
        """The upper left cells of the tiles."""
        return product(_starts(rows, self.height, self.overlap), _starts(columns, self.width, self.overlap))


@dataclass(frozen=True, slots=True)
class TileWork:
    """A function from [1,C,H,W] to [1,C',H',W'], where a cell of `grain` rows and columns becomes one of `scale`.

    What comes of it is float32 on the CPU. `done` is called after each tile.
    """

    function: Callable[[Tensor], Tensor]
    scale: int = 1
    grain: int = 1
    done: Callable[[], None] = lambda: None

    def tiled(self, samples: Tensor, tiling: Tiling) -> Tensor:
        """The function over [B,C,H,W] tile by tile; what fits into one tile is done at once."""
        return torch.cat([self._one(item, tiling) for item in samples.split(1)])

    def smoothed(self, samples: Tensor, tile: int, overlap: int) -> Tensor:
        """The mean of three: square tiles, tiles half as wide and twice as high, tiles twice as wide and half as high.

        Their seams lie at different places, as ComfyUI has it. What fits into one tile of each is done once.
        """
        half, double = tile // 2, tile * 2
        tilings = [Tiling(half, double, overlap), Tiling(double, half, overlap), Tiling(tile, tile, overlap)]
        if all(tiling.count(samples[:1], self.grain) == 1 for tiling in tilings):
            return self.tiled(samples, tilings[-1])
        first, second, third = (self.tiled(samples, tiling) for tiling in tilings)
        return (first + second + third) / 3.0

    def _one(self, item: Tensor, tiling: Tiling) -> Tensor:
        rows, columns = (side // self.grain for side in item.shape[-2:])
        places = list(tiling.places(rows, columns))
        sheet = _Sheet(rows * self.scale, columns * self.scale, tiling.overlap * self.scale)
        for top, left in places:
            part = self.function(self._cut(item, top, left, tiling)).float().cpu()
            if len(places) == 1:
                self.done()
                return part
            sheet.add(part, top * self.scale, left * self.scale)
            self.done()
        return sheet.total / sheet.weight

    def _cut(self, item: Tensor, top: int, left: int, tiling: Tiling) -> Tensor:
        grain = self.grain
        rows = slice(top * grain, (top + tiling.height) * grain)
        return item[..., rows, left * grain : (left + tiling.width) * grain]


@dataclass
class _Sheet:
    """What tiles are laid on."""

    rows: int
    columns: int
    ramp: int
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    weight: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, part: Tensor, top: int, left: int) -> None:
        if not self.total.ndim:
            self.total = part.new_zeros(*part.shape[:2], self.rows, self.columns)
            self.weight = part.new_zeros(1, 1, self.rows, self.columns)
        height, width = part.shape[-2:]
        fade = _fade(height, self.ramp)[:, None] * _fade(width, self.ramp)
        place = (..., slice(top, top + height), slice(left, left + width))
        self.total[place] += part * fade
        self.weight[place] += fade


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
