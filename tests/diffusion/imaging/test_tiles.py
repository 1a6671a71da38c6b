# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from graphexec.diffusion.imaging.tiles import TileWork, Tiling

SQUARE = Tiling(16, 16, 4)


def doubled(samples: Tensor) -> Tensor:
    return samples.repeat_interleave(2, -1).repeat_interleave(2, -2)


def halved(samples: Tensor) -> Tensor:
    return F.avg_pool2d(samples, 2)


class Levels:
    """Paints one tile after the other in its own grey, and remembers their sizes."""

    def __init__(self, levels: Iterator[float]) -> None:
        self.levels = levels
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, part: Tensor) -> Tensor:
        self.sizes.append((part.shape[-1], part.shape[-2]))
        return torch.full_like(part, next(self.levels))


sides = st.integers(1, 70)


@given(sides, sides, st.integers(1, 2))
def test_tiles_join_without_a_seam(height: int, width: int, count: int) -> None:
    samples, calls = torch.rand(count, 3, height, width), list[None]()
    whole = TileWork(doubled, 2, done=lambda: calls.append(None)).tiled(samples, SQUARE)
    assert torch.allclose(whole, doubled(samples), atol=1e-6)
    assert len(calls) == SQUARE.count(samples)


@given(sides, sides)
def test_tiles_are_cut_in_whole_cells(rows: int, columns: int) -> None:
    samples = torch.rand(1, 3, rows * 2, columns * 2)
    whole = TileWork(halved, 1, 2).smoothed(samples, 16, 4)
    assert torch.allclose(whole, halved(samples), atol=1e-6)


def test_tiles_fade_in_a_straight_line() -> None:
    row = TileWork(Levels(iter((0.0, 1.0)))).tiled(torch.zeros(1, 1, 1, 24), SQUARE)
    expected = torch.tensor([(n + 1) / 4 / ((n + 1) / 4 + (4 - n) / 4) for n in range(4)])
    assert torch.allclose(row[0, 0, 0, 12:16], expected)
    assert row[0, 0, 0, 11] == 0 and row[0, 0, 0, 16] == 1


def test_smoothed_tiles_have_three_shapes() -> None:
    paint = Levels(iter([1.0] * 8))
    TileWork(paint).smoothed(torch.zeros(1, 1, 16, 16), 16, 2)
    assert paint.sizes == [(8, 16), (8, 16), (4, 16), (16, 8), (16, 8), (16, 4), (16, 16)]


def test_smoothed_is_the_mean() -> None:
    paint = Levels(iter([3.0] * 3 + [6.0] * 3 + [0.0]))
    found = TileWork(paint).smoothed(torch.zeros(1, 1, 16, 16), 16, 2)
    torch.testing.assert_close(found, torch.full_like(found, 3.0))


@pytest.mark.parametrize("count", [1, 3])
def test_what_fits_into_every_tile_is_done_once(count: int) -> None:
    paint, samples = Levels(iter([0.1, 0.2, 0.3])), torch.zeros(count, 1, 8, 7)
    found = TileWork(paint).smoothed(samples, 16, 4)
    assert paint.sizes == [(7, 8)] * count
    assert torch.equal(found[:, 0, 0, 0], torch.tensor([0.1, 0.2, 0.3])[:count])
