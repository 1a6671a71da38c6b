"""What a LoRA's file says of the pictures that it was trained on, under sd-scripts' names."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from graphexec.train.config import Buckets, Dataset, Subset
from graphexec.train.data.buckets import limits
from graphexec.train.data.pictures import Data, Picture

__all__ = ["data_metadata"]


def data_metadata(data: Data) -> dict[str, str]:
    """Metadata (`ss_…`) of a training set: how many pictures, of which folders, with which tags, in which buckets.

    The settings of one dataset stand for themselves, those of several in `ss_datasets`, each with its folders. Paths
    stay at home: folders are given by their own names.
    """
    regular = [picture for picture in data.pictures if picture.subset.is_reg]
    train = [picture for picture in data.pictures if not picture.subset.is_reg]
    facts = {
        "num_train_images": _uses(train),
        "num_reg_images": _uses(regular),
        "num_validation_images": len(data.validation.pictures) if data.validation else 0,
        "num_batches_per_epoch": data.batches_per_epoch,
        "dataset_dirs": _folders(train),
        "reg_dataset_dirs": _folders(regular),
        "tag_frequency": _tags(data.pictures),
    }
    settings = _alone(data) if len(data.datasets) == 1 else {"datasets": _several(data)}
    return {f"ss_{name}": _text(value) for name, value in {**facts, **settings}.items()}


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _uses(pictures: Sequence[Picture]) -> int:
    return sum(picture.repeats for picture in pictures)


def _folder(subset: Subset) -> str:
    return (subset.metadata_file or subset.image_dir or Path()).name


def _folders(pictures: Sequence[Picture]) -> dict[str, dict[str, int]]:
    """As in sd-scripts, a name that comes again, as that of a folder in two datasets, gets a number."""
    named: dict[tuple[int, int], str] = {}
    found: dict[str, dict[str, int]] = {}
    for picture in pictures:
        place, folder = (picture.dataset, id(picture.subset)), _folder(picture.subset)
        if place not in named:
            named[place] = next(name for name in _numbered(folder) if name not in found)
        entry = found.setdefault(named[place], {"n_repeats": picture.subset.repeats, "img_count": 0})
        entry["img_count"] += 1
    return found


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name} ({number})" for number in itertools.count(2))


def _tags(pictures: Sequence[Picture]) -> dict[str, dict[str, int]]:
    """How many pictures of each folder have each tag, whatever their repeats; of lines that are no choice the first.

    A picture that is in several datasets, as one for each resolution, counts once.
    """
    found = defaultdict[str, Counter[str]](Counter)
    for picture in {picture.path: picture for picture in reversed(pictures)}.values():
        lines = [line for line in picture.text.split("\n") if line.strip()]
        tags = ",".join(lines if picture.subset.captions.wildcards else lines[:1]).split(",")
        found[_folder(picture.subset)].update(tag.strip().lower() for tag in tags if tag.strip())
    return {folder: dict(tags) for folder, tags in found.items()}


def _alone(data: Data) -> Mapping[str, object]:
    """The only dataset, with the captions of its first folder, as the folders of one configuration rarely differ."""
    (dataset,) = data.datasets
    return {**_dataset(dataset, data.pictures), **_captions(dataset.subsets[0])}


def _several(data: Data) -> list[Mapping[str, object]]:
    parts = [[each for each in data.pictures if each.dataset == number] for number in range(len(data.datasets))]
    return [
        {
            "is_dreambooth": all(subset.metadata_file is None for subset in dataset.subsets),
            "num_train_images": _uses([picture for picture in pictures if not picture.subset.is_reg]),
            "num_reg_images": _uses([picture for picture in pictures if picture.subset.is_reg]),
            "tag_frequency": _tags(pictures),
            **_dataset(dataset, pictures),
            "subsets": [_subset(subset, pictures) for subset in dataset.subsets],
        }
        for dataset, pictures in zip(data.datasets, parts, strict=True)
    ]


def _dataset(dataset: Dataset, pictures: Sequence[Picture]) -> Mapping[str, object]:
    facts: dict[str, object] = {
        "batch_size_per_device": dataset.batch_size,
        "resolution": dataset.resolution,
        "skip_image_resolution": dataset.skip_resolution,
        "enable_bucket": dataset.buckets is not None,
    }
    if dataset.buckets is None:
        return facts
    return {**facts, **_limits(dataset.buckets), "bucket_info": _buckets(pictures)}


def _subset(subset: Subset, pictures: Sequence[Picture]) -> Mapping[str, object]:
    """A folder, or the file that lists its pictures."""
    rules = subset.captions
    named = {"metadata_file": subset.metadata_file, "image_dir": subset.image_dir}
    return {
        "img_count": sum(picture.subset is subset for picture in pictures),
        "num_repeats": subset.repeats,
        **_captions(subset),
        "keep_tokens_separator": rules.keep_tokens_separator,
        "secondary_separator": rules.secondary_separator,
        "enable_wildcard": rules.wildcards,
        "caption_prefix": rules.prefix,
        "caption_suffix": rules.suffix,
        **{name: path.name for name, path in named.items() if path is not None},
        "class_tokens": subset.class_tokens,
        "is_reg": subset.is_reg,
    }


def _captions(subset: Subset) -> Mapping[str, object]:
    rules, augment = subset.captions, subset.augment
    return {
        "color_aug": augment.color,
        "flip_aug": augment.flip,
        "random_crop": augment.random_crop,
        "shuffle_caption": rules.shuffle,
        "keep_tokens": rules.keep_tokens,
        "caption_dropout_rate": rules.dropout_rate,
        "caption_dropout_every_n_epochs": rules.dropout_every_n_epochs,
        "caption_tag_dropout_rate": rules.tag_dropout_rate,
    }


def _limits(buckets: Buckets) -> Mapping[str, object]:
    shortest, longest = limits(buckets)
    return {
        "bucket_no_upscale": buckets.no_upscale,
        "min_bucket_reso": shortest,
        "max_bucket_reso": longest,
    }


def _buckets(pictures: Sequence[Picture]) -> dict[str, object]:
    count = Counter({picture.fit.bucket: 0 for picture in pictures})
    for picture in pictures:
        count[picture.fit.bucket] += picture.repeats
    errors = [abs(_proportions(picture.fit.bucket) - _proportions(picture.original)) for picture in pictures]
    buckets = {
        str(n): {"resolution": list(size), "count": uses} for n, (size, uses) in enumerate(sorted(count.items()))
    }
    return {"buckets": buckets, "mean_img_ar_error": sum(errors) / max(len(errors), 1)}


def _proportions(size: tuple[int, int]) -> float:
    return size[0] / size[1]
