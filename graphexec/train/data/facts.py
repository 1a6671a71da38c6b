"""What a LoRA's file says of the pictures that it was trained on, under sd-scripts' names."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from graphexec.train.config import Buckets, Dataset, Subset
from graphexec.train.data.buckets import limits
from graphexec.train.data.pictures import Data, Picture

__all__ = ["data_metadata"]


def data_metadata(data: Data) -> dict[str, str]:
    """Metadata (`ss_…`) of a training set: how many pictures, of which folders, with which tags, in which buckets.

    The settings of one dataset stand for themselves, those of several in `ss_datasets`. Paths stay at home: folders
    are given by their own names.
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
    datasets = [_dataset(data, number) for number in range(len(data.datasets))]
    settings = datasets[0] if len(datasets) == 1 else {"datasets": datasets}
    return {f"ss_{name}": _text(value) for name, value in {**facts, **settings}.items()}


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _uses(pictures: Sequence[Picture]) -> int:
    return sum(picture.repeats for picture in pictures)


def _folder(subset: Subset) -> str:
    return (subset.metadata_file or subset.image_dir or Path()).name


def _folders(pictures: Sequence[Picture]) -> dict[str, dict[str, int]]:
    count = Counter(_folder(picture.subset) for picture in pictures)
    repeats = {_folder(picture.subset): picture.subset.repeats for picture in pictures}
    return {folder: {"n_repeats": repeats[folder], "img_count": n} for folder, n in count.items()}


def _tags(pictures: Sequence[Picture]) -> dict[str, dict[str, int]]:
    """How many pictures of each folder have each tag, whatever their repeats; of lines that are no choice the first."""
    found = defaultdict[str, Counter[str]](Counter)
    for picture in pictures:
        lines = [line for line in picture.text.split("\n") if line.strip()]
        tags = ",".join(lines if picture.subset.captions.wildcards else lines[:1]).split(",")
        found[_folder(picture.subset)].update(tag.strip().lower() for tag in tags if tag.strip())
    return {folder: dict(tags) for folder, tags in found.items()}


def _dataset(data: Data, number: int) -> dict[str, object]:
    dataset = data.datasets[number]
    facts: dict[str, object] = {
        "batch_size_per_device": dataset.batch_size,
        "resolution": f"({dataset.resolution[0]}, {dataset.resolution[1]})",
        "enable_bucket": dataset.buckets is not None,
        **_captions(dataset),
    }
    if dataset.buckets is None:
        return facts
    pictures = [picture for picture in data.pictures if picture.dataset == number]
    return {**facts, **_limits(dataset.buckets), "bucket_info": _buckets(pictures)}


def _captions(dataset: Dataset) -> Mapping[str, object]:
    """Of its first folder, as the folders of one configuration rarely differ."""
    subset = dataset.subsets[0]
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
