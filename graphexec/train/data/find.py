"""What there is to train on, before any pixel is read: pictures, their captions' files, their buckets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from graphexec.train.config import Augment, CaptionRules, Dataset, Subset
from graphexec.train.data.buckets import Size, bucket_sizes, check_buckets, fit, limits, placing
from graphexec.train.data.captions import caption_texts
from graphexec.train.data.faults import DataError, listed
from graphexec.train.data.folders import left_out, no_pictures, picture_files
from graphexec.train.data.headers import upright_size
from graphexec.train.data.metadata import read_metadata
from graphexec.train.data.pictures import Data, Picture
from graphexec.train.data.seeds import generator

__all__ = ["find_pictures"]


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    text: str
    subset: Subset
    bucket: Size | None = None


def find_pictures(datasets: Sequence[Dataset], seed: int = 0) -> Data:
    """The pictures of all datasets. `seed` chooses what is held out where a dataset names no seed for that.

    Raises `DataError`, which says what to do, for whatever would spoil the run: no pictures, no captions, captions
    under another extension, pictures that cannot be read.
    """
    warnings: list[str] = []
    sets: list[list[Picture]] = []
    held_out: list[Picture] = []
    for number, dataset in enumerate(datasets):
        check_buckets(dataset)
        _check_numbers(dataset)
        warnings += _moved_limits(dataset)
        pictures = list(_measured(number, dataset, _found(dataset, warnings), warnings))
        warnings += _shrunk_by_the_largest(dataset, pictures)
        chosen = _held_out(pictures, dataset, seed, warnings)
        held_out += [_as_it_is(picture) for picture in pictures if picture.path in chosen]
        sets.append(pictures)
    # The same folder may be in another dataset, at another resolution.
    away = {picture.path for picture in held_out}
    trained = ([picture for picture in pictures if picture.path not in away] for pictures in sets)
    kept = [picture for pictures in trained for picture in _balanced(pictures, warnings)]
    if not kept:
        raise DataError("there is nothing to train on: " + ("; ".join(warnings) or "no dataset names any pictures"))
    validation = Data(tuple(held_out), tuple(datasets)) if held_out else None
    return Data(tuple(kept), tuple(datasets), tuple(warnings), validation)


def _check_numbers(dataset: Dataset) -> None:
    if dataset.batch_size < 1:
        raise DataError(f"batch_size is {dataset.batch_size}; it must be 1 or more")
    if not 0 <= dataset.validation_split < 1:
        raise DataError(f"validation_split is {dataset.validation_split}; it is a part, from 0 to below 1")
    for subset in dataset.subsets:
        if subset.repeats < 1:
            raise DataError(f"{_named(subset)}: num_repeats is {subset.repeats}; it must be 1 or more")
        rules = subset.captions
        if not (0 <= rules.dropout_rate <= 1 and 0 <= rules.tag_dropout_rate <= 1):
            raise DataError(
                f"{_named(subset)}: caption_dropout_rate and caption_tag_dropout_rate are parts, from 0 to 1"
            )


def _found(dataset: Dataset, warnings: list[str]) -> Iterator[_Found]:
    seen: set[Path] = set()
    for subset in dataset.subsets:
        place = subset.metadata_file or subset.image_dir
        if place is None:
            raise DataError("a subset names neither image_dir nor metadata_file")
        if place.resolve() in seen:
            raise DataError(f"{place}: listed twice; give it once with more repeats")
        seen.add(place.resolve())
        yield from _of_subset(subset, warnings)


def _of_subset(subset: Subset, warnings: list[str]) -> Iterator[_Found]:
    if subset.metadata_file is not None:
        entries = read_metadata(subset.metadata_file, subset)
        if empty := [entry.path.name for entry in entries if not entry.text]:
            warnings.append(f"{subset.metadata_file}: pictures without caption, tags or class: {listed(empty)}")
        yield from (_Found(entry.path, entry.text, subset, entry.bucket) for entry in entries)
    elif subset.image_dir is not None:
        paths = picture_files(subset.image_dir)
        if not paths:
            raise DataError(no_pictures(subset.image_dir))
        warnings += left_out(subset.image_dir)
        texts = caption_texts(subset, paths, warnings.append)
        yield from (_Found(path, text, subset) for path, text in zip(paths, texts, strict=True))


def _measured(number: int, dataset: Dataset, found: Iterator[_Found], warnings: list[str]) -> Iterator[Picture]:
    """Pictures with their sizes and buckets; the metadata's own size counts before the dataset's buckets."""
    place_of, small = placing(dataset), list[str]()
    for each in found:
        size = upright_size(each.path)
        if dataset.skip_resolution is not None and math.prod(size) <= math.prod(dataset.skip_resolution):
            small.append(each.path.name)
            continue
        try:
            place = fit(size, [each.bucket]) if each.bucket else place_of(size)
        except DataError as error:
            raise DataError(f"{each.path}: {error}") from error
        yield Picture(each.path, each.text, size, place, each.subset.repeats, each.subset, number)
    if small and dataset.skip_resolution is not None:
        width, height = dataset.skip_resolution
        warnings.append(f"skip_image_resolution {width} x {height} leaves out {len(small)} pictures: {listed(small)}")


def _moved_limits(dataset: Dataset) -> Iterator[str]:
    """A warning for each limit of buckets that is in no whole steps."""
    buckets = dataset.buckets
    if buckets is None or buckets.no_upscale:
        return
    named = {"min_bucket_reso": buckets.min_size, "max_bucket_reso": buckets.max_size}
    for (name, side), taken in zip(named.items(), limits(buckets), strict=True):
        if side != taken:
            yield f"{name} {side} is no multiple of bucket_reso_steps {buckets.step}: it counts as {taken}"


def _shrunk_by_the_largest(dataset: Dataset, pictures: Sequence[Picture]) -> Iterator[str]:
    """A warning if pictures are trained smaller than the resolution only because no side may be longer."""
    buckets = dataset.buckets
    if buckets is None or buckets.no_upscale:
        return
    longest = dataset.resolution[0] * dataset.resolution[1] // limits(buckets)[0]
    sizes = bucket_sizes(dataset.resolution, replace(buckets, max_size=max(longest, buckets.max_size)))
    wanted = [(picture, fit(picture.original, sizes).bucket) for picture in pictures]
    smaller = [size for picture, size in wanted if math.prod(picture.fit.bucket) < math.prod(size)]
    if smaller:
        yield (
            f"max_bucket_reso {buckets.max_size} makes {len(smaller)} pictures smaller than the resolution "
            f"{dataset.resolution[0]} x {dataset.resolution[1]}; "
            f"{max(max(size) for size in smaller)} would let them keep its area"
        )


def _held_out(pictures: Sequence[Picture], dataset: Dataset, seed: int, warnings: list[str]) -> set[Path]:
    """What is held out of each folder that is no regularisation; never all of a folder."""
    if not dataset.validation_split:
        return set()
    draw = generator(seed if dataset.validation_seed is None else dataset.validation_seed, "validation")
    held_out: set[Path] = set()
    for subset in (subset for subset in dataset.subsets if not subset.is_reg):
        paths = [picture.path for picture in pictures if picture.subset is subset]
        if paths:
            held_out |= set(draw.sample(paths, min(round(len(paths) * dataset.validation_split), len(paths) - 1)))
    if not held_out:
        warnings.append(f"validation_split {dataset.validation_split} holds out no picture: the folders hold too few")
    return held_out


def _as_it_is(picture: Picture) -> Picture:
    """Each once, the same in every epoch."""
    rules = picture.subset.captions
    plain = CaptionRules(
        extension=rules.extension, separator=rules.separator, keep_tokens_separator=rules.keep_tokens_separator,
        secondary_separator=rules.secondary_separator, prefix=rules.prefix, suffix=rules.suffix,
    )  # fmt: skip
    return replace(picture, repeats=1, subset=replace(picture.subset, captions=plain, augment=Augment()))


def _balanced(pictures: list[Picture], warnings: list[str]) -> list[Picture]:
    """Regularisation pictures one after the other, again and again, until there are as many as of the others."""
    train = [picture for picture in pictures if not picture.subset.is_reg]
    regular = [picture for picture in pictures if picture.subset.is_reg]
    if not regular:
        return pictures
    wanted, repeats = sum(picture.repeats for picture in train), [0] * len(regular)
    if not wanted:
        raise DataError("there are regularisation pictures but none to train on")
    at = have = 0
    while have < wanted:
        more = regular[at].repeats if at < len(regular) else 1
        repeats[at % len(regular)] += more
        have, at = have + more, at + 1
    if at < len(regular):
        warnings.append(f"{len(regular) - at} of {len(regular)} regularisation pictures are not used: {wanted} suffice")
    return train + [replace(picture, repeats=n) for picture, n in zip(regular, repeats, strict=True) if n]


def _named(subset: Subset) -> str:
    return str(subset.metadata_file or subset.image_dir)
