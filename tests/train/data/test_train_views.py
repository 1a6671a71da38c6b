from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.train.config import Augment, Dataset, Subset
from graphexec.train.data.buckets import Fit
from graphexec.train.data.faults import DataError
from graphexec.train.data.pictures import Data, Picture
from graphexec.train.data.views import View, drawn_view, plain_view, refuse_caching, size_condition

WIDE = Picture(Path("a.png"), "", (300, 100), Fit((128, 64), (192, 64)), 1, Subset(Path("cats")), 0)


def with_(augment: Augment) -> Picture:
    return replace(WIDE, subset=replace(WIDE.subset, augment=augment))


def test_the_middle_is_seen_without_augmentation() -> None:
    assert plain_view(WIDE) == View(32, 0)
    assert {drawn_view(WIDE, Random(seed)) for seed in range(20)} == {View(32, 0)}


def test_half_of_all_views_are_mirrored() -> None:
    views = [drawn_view(with_(Augment(flip=True)), Random(seed)) for seed in range(400)]
    assert set(views) == {View(32, 0), View(32, 0, flipped=True)}
    assert 160 < sum(view.flipped for view in views) < 240


@given(st.integers())
def test_random_cuts_lie_inside(seed: int) -> None:
    view = drawn_view(with_(Augment(random_crop=True)), Random(seed))
    assert 0 <= view.left <= 64
    assert view.top == 0


def test_a_third_of_all_views_have_other_colors() -> None:
    views = [drawn_view(with_(Augment(color=True)), Random(seed)) for seed in range(900)]
    turned = [view for view in views if view.hue]
    brighter = [view for view in views if view.gamma != 1]
    assert not set(turned) & set(brighter)
    assert 100 < len(turned) < 200
    assert 100 < len(brighter) < 200
    assert max(abs(view.hue) for view in turned) <= 8 / 180
    assert all(0.95 <= view.gamma <= 1.05 for view in brighter)


def test_what_sdxl_is_told() -> None:
    assert size_condition(WIDE, View(10, 0)) == (100, 300, 0, 10, 64, 128)
    assert size_condition(WIDE, View(10, 0, flipped=True)) == (100, 300, 0, 54, 64, 128)


@pytest.mark.parametrize("augment", [Augment(color=True), Augment(random_crop=True)])
def test_what_changes_is_not_kept(augment: Augment) -> None:
    with pytest.raises(DataError, match="cannot be cached with color_aug or random_crop, as cats asks"):
        refuse_caching(Data((WIDE, with_(augment)), (Dataset(()),)))
    refuse_caching(Data((with_(Augment(flip=True)),), (Dataset(()),)))
