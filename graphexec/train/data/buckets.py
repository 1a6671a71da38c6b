"""Aspect-ratio buckets: which size a picture is trained at. The sizes and the choice are those of sd-scripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphexec.train.config import Buckets, Dataset
from graphexec.train.data.faults import DataError

__all__ = ["Fit", "Size", "bucket_sizes", "check_buckets", "fit", "fit_freely", "limits", "placing"]

Size = tuple[int, int]
"""Width, height."""

CELL = 8
"""Pixels per latent cell, a side."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A picture is resized to `resized`, which covers `bucket`, and then cut to it."""

    bucket: Size
    resized: Size


def limits(buckets: Buckets) -> tuple[int, int]:
    """The shortest and the longest side in whole steps: as sd-scripts, the step below and the step above."""
    step = buckets.step
    return buckets.min_size // step * step, math.ceil(buckets.max_size / step) * step


def bucket_sizes(resolution: Size, buckets: Buckets) -> list[Size]:
    """All sizes of buckets, in order: sides are multiples of the step, areas at most that of the resolution."""
    area, step = resolution[0] * resolution[1], buckets.step
    shortest, longest = limits(buckets)
    side = int(math.sqrt(area) // step) * step
    sizes = {(side, side)}
    for width in range(shortest, longest + 1, step):
        height = min(longest, area // width // step * step)
        if height >= shortest:
            sizes |= {(width, height), (height, width)}
    return sorted(sizes)


def placing(dataset: Dataset) -> Callable[[Size], Fit]:
    """Where a picture of a size goes in a dataset; raises `DataError` for one that cannot be trained at any size."""
    resolution, buckets = dataset.resolution, dataset.buckets
    if buckets is not None and buckets.no_upscale:
        return lambda picture: fit_freely(picture, resolution, buckets.step)
    sizes = [resolution] if buckets is None else bucket_sizes(resolution, buckets)
    return lambda picture: fit(picture, sizes)


def fit(picture: Size, sizes: Sequence[Size]) -> Fit:
    """Its own size if that is a bucket, else the bucket whose proportions are nearest (the first of them)."""
    proportions = picture[0] / picture[1]
    nearest = min(sizes, key=lambda size: abs(size[0] / size[1] - proportions))
    return _covering(picture, picture if picture in sizes else nearest)


def fit_freely(picture: Size, resolution: Size, step: int) -> Fit:
    """A bucket made for the picture, which is made smaller if its area is above the resolution's, never larger.

    Raises `DataError` if a side is shorter than the step.
    """
    resized = _shrunk(picture, resolution, step)
    bucket = resized[0] // step * step, resized[1] // step * step
    if min(bucket) == 0:
        raise DataError(
            f"a picture of {picture[0]} x {picture[1]} is too small or too narrow for buckets in steps of {step} "
            "without upscaling; leave it out, take smaller steps, or allow upscaling"
        )
    return Fit(bucket, resized)


def _covering(picture: Size, bucket: Size) -> Fit:
    """The smallest size with the picture's proportions that covers the bucket, rounded."""
    wider = picture[0] / picture[1] > bucket[0] / bucket[1]
    scale = bucket[1] / picture[1] if wider else bucket[0] / picture[0]
    return Fit(bucket, (int(picture[0] * scale + 0.5), int(picture[1] * scale + 0.5)))


def _shrunk(picture: Size, resolution: Size, step: int) -> Size:
    """To the resolution's area, with one side a multiple of the step: the one that changes proportions less."""
    area, proportions = resolution[0] * resolution[1], picture[0] / picture[1]
    if picture[0] * picture[1] <= area:
        return picture
    width = math.sqrt(area * proportions)
    across, down = _to_step(width, step), _to_step(area / width, step)
    height_across, width_down = _to_step(across / proportions, step), _to_step(down * proportions, step)
    if min(across, down, height_across, width_down) == 0:
        return min(across, down), 0
    if abs(across / height_across - proportions) < abs(width_down / down - proportions):
        return across, int(across / proportions + 0.5)
    return int(down * proportions + 0.5), down


def _to_step(length: float, step: int) -> int:
    """The whole steps in a length (sd-scripts calls this rounding, but it cuts off)."""
    return int(length + 0.5) // step * step


def check_buckets(dataset: Dataset) -> None:
    """Raise `DataError` where a resolution and its buckets contradict each other."""
    resolution, buckets = dataset.resolution, dataset.buckets
    shown = f"{resolution[0]} x {resolution[1]}"
    if buckets is None:
        if min(resolution) < CELL or any(side % CELL for side in resolution):
            raise DataError(f"a resolution of {shown} has sides that are no multiples of {CELL}")
        return
    if buckets.step < CELL or buckets.step % CELL:
        raise DataError(f"bucket_reso_steps is {buckets.step}; it must be a multiple of {CELL}")
    if buckets.no_upscale:
        return
    shortest, longest = limits(buckets)
    if min(resolution) < shortest:
        raise DataError(f"min_bucket_reso {buckets.min_size} is above the resolution {shown}; lower it")
    if max(resolution) > longest:
        raise DataError(f"max_bucket_reso {buckets.max_size} is below the resolution {shown}; raise it")
    if not shortest or math.prod(resolution) < buckets.step**2:
        raise DataError(
            f"buckets from {buckets.min_size} in steps of {buckets.step} do not suit the resolution {shown}: "
            "the step must be no larger than min_bucket_reso and the resolution"
        )
