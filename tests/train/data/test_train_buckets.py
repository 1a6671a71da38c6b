from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.train.config import Buckets, Dataset
from graphexec.train.data.buckets import bucket_sizes, check_buckets, fit, fit_freely, placing
from graphexec.train.data.faults import DataError

SIDES = st.integers(64, 4096)


@pytest.mark.parametrize(
    ("resolution", "largest", "count"), [((512, 512), 1024, 17), ((1024, 1024), 1024, 25), ((1024, 1024), 2048, 41)]
)
def test_there_are_as_many_sizes_as_in_sd_scripts(resolution: tuple[int, int], largest: int, count: int) -> None:
    assert len(bucket_sizes(resolution, Buckets(max_size=largest))) == count


def test_the_sizes_for_512() -> None:
    landscape = [(512, 512), (576, 448), (640, 384), (704, 320), (768, 320)]
    landscape += [(832, 256), (896, 256), (960, 256), (1024, 256)]
    sizes = bucket_sizes((512, 512), Buckets())
    assert set(sizes) >= set(landscape) | {(height, width) for width, height in landscape}
    assert sizes == sorted(sizes)


@given(st.sampled_from([256, 512, 640, 768, 1024]), st.sampled_from([8, 32, 64]))
def test_sizes_are_in_steps_and_no_larger_than_the_resolution(side: int, step: int) -> None:
    for width, height in bucket_sizes((side, side), Buckets(256, 2048, step)):
        assert width % step == 0
        assert height % step == 0
        assert width * height <= side * side
        assert min(width, height) >= 256


def test_limits_are_in_whole_steps() -> None:
    assert bucket_sizes((512, 512), Buckets(300, 1000)) == bucket_sizes((512, 512), Buckets(256, 1024))


@given(SIDES, SIDES)
def test_a_picture_covers_its_bucket_and_touches_it_on_one_side(width: int, height: int) -> None:
    sizes = bucket_sizes((512, 512), Buckets())
    place = fit((width, height), sizes)
    across, down = (a - b for a, b in zip(place.resized, place.bucket, strict=True))
    assert place.bucket in sizes
    assert min(across, down) == 0
    assert max(across, down) >= 0


def test_a_picture_of_a_buckets_size_goes_there() -> None:
    # Both have the proportions 3:1 in these buckets; the exact size is preferred to the first of them.
    assert fit((768, 256), [(384, 128), (768, 256)]).bucket == (768, 256)
    assert fit((769, 256), [(384, 128), (768, 256)]).bucket == (384, 128)


def test_the_resized_side_is_rounded_half_up() -> None:
    assert fit((1000, 667), bucket_sizes((512, 512), Buckets())).resized == (640, 427)
    assert fit((1000, 667), bucket_sizes((512, 512), Buckets())).bucket == (640, 384)


@given(SIDES, SIDES)
def test_without_upscaling_no_picture_grows(width: int, height: int) -> None:
    try:
        place = fit_freely((width, height), (512, 512), 64)
    except DataError:
        return
    assert place.resized[0] <= width + 1
    assert place.resized[1] <= height + 1
    assert all(0 <= a - b < 64 for a, b in zip(place.resized, place.bucket, strict=True))
    assert all(side % 64 == 0 for side in place.bucket)


def test_without_upscaling_a_small_picture_keeps_its_size() -> None:
    place = fit_freely((500, 300), (512, 512), 64)
    assert place.resized == (500, 300)
    assert place.bucket == (448, 256)


def test_without_upscaling_a_large_picture_takes_the_side_that_keeps_its_proportions() -> None:
    # sqrt(512*512*1.5) = 627 by 418: 576 by 384 has 1.5 exactly.
    assert fit_freely((1500, 1000), (512, 512), 64).bucket == (576, 384)
    assert fit_freely((1500, 1000), (512, 512), 64).resized == (576, 384)


@pytest.mark.parametrize("size", [(63, 500), (20000, 70)])
def test_without_upscaling_a_picture_can_be_too_narrow(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="too small or too narrow"):
        fit_freely(size, (512, 512), 64)


def test_without_buckets_there_is_one_size() -> None:
    place = placing(Dataset((), (128, 64)))((300, 300))
    assert place.bucket == (128, 64)
    assert place.resized == (128, 128)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Dataset((), (100, 512)), "no multiples of 8"),
        (Dataset((), (512, 512), buckets=Buckets(step=12)), "bucket_reso_steps is 12"),
        (Dataset((), (128, 128), buckets=Buckets()), "min_bucket_reso 256 is above"),
        (Dataset((), (2048, 1024), buckets=Buckets()), "max_bucket_reso 1024 is below"),
        (Dataset((), (256, 256), buckets=Buckets(step=512)), "do not suit"),
        (Dataset((), (256, 256), buckets=Buckets(min_size=32)), "do not suit"),
    ],
)
def test_contradictions_are_refused(dataset: Dataset, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_buckets(dataset)


def test_settings_that_are_not_used_are_not_checked() -> None:
    check_buckets(Dataset((), (128, 128), buckets=Buckets(no_upscale=True)))
