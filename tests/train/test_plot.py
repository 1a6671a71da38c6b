from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from graphexec.diffusion.faults import MissingLibrary
from graphexec.train.plot import plot_losses, smoothed


def test_a_plot_is_a_picture(tmp_path: Path) -> None:
    plot_losses(tmp_path / "loss.png", [(1, 0.5), (2, 0.25), (4, 0.125)], [(2, 0.3)])
    with Image.open(tmp_path / "loss.png") as picture:
        colours = picture.convert("RGB").getcolors(2**20)
    assert colours is not None
    assert {(31, 119, 180), (255, 127, 14)} <= {colour for _, colour in colours}


def test_matplotlib_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingLibrary, match=r"graphexec\[train\]"):
        plot_losses(tmp_path / "loss.png", [(1, 0.5)])


@given(st.lists(st.floats(0, 1), max_size=300))
def test_a_moving_mean_stays_between_what_it_is_of(values: list[float]) -> None:
    means = smoothed(values)
    assert len(means) == len(values)
    assert all(min(values) - 1e-12 <= mean <= max(values) + 1e-12 for mean in means)


def test_a_moving_mean_looks_back_a_fiftieth() -> None:
    assert smoothed([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    assert smoothed([0.0, 1.0] * 50)[1:] == [0.5] * 99
