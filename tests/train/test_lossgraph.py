# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The picture of a run's losses."""

from __future__ import annotations

import pytest

from graphexec.train.faults import TrainingError
from graphexec.train.lossgraph import SIZE, loss_graph


def dark(losses: list[float]) -> list[tuple[int, int]]:
    """The pixels (row, column) of the moving mean."""
    picture = loss_graph(losses)[0]
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    return [(int(y), int(x)) for y, x in ((picture[..., 0] < 0.2) & (picture[..., 2] > 0.6)).nonzero()]


def test_a_falling_loss_falls() -> None:
    points = dark([3.0, 2.0, 1.0])
    left, right = min(points, key=lambda at: at[1]), max(points, key=lambda at: at[1])
    assert left[0] < SIZE[1] / 4 and right[0] > SIZE[1] * 3 / 4
    assert right[1] - left[1] > SIZE[0] * 0.8


def test_losses_that_are_alike_or_alone_are_drawn_in_the_middle() -> None:
    for losses in ([2.0, 2.0], [2.0]):
        points = dark(losses)
        assert points and all(abs(row - SIZE[1] / 2) < 10 for row, _ in points)


def test_many_losses_are_smoothed() -> None:
    rows = [row for row, _ in dark([0.0, 1.0] * 300)]
    assert max(rows) - min(rows) < SIZE[1] * 0.8
    assert dark([0.0, 1.0] * 300)


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(TrainingError, match="no losses"):
        loss_graph([])
