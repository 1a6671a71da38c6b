"""The pictures to train on: folders named by options, or a dataset TOML."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from graphexec.train.config import Augment, Buckets, CaptionRules, Dataset, Subset
from graphexec.train.data.buckets import check_buckets
from graphexec.train.data.faults import DataError
from graphexec.train.data.folders import is_counted, kohya_subsets, picture_files
from graphexec.train.documents import format_of, read_document
from graphexec.train.kohya.faults import Faults
from graphexec.train.kohya.keys import DATASET_ONLY, FOLLOWED, HARMLESS, OURS, REFUSED
from graphexec.train.kohya.settings import Settings, Tables, checked, fill

__all__ = ["read_datasets"]

Values = Mapping[str, Any]

EXTENSIONS = (".txt", ".caption")
OF_COMMAND = (
    "dataset_config",
    "train_data_dir",
    "reg_data_dir",
    "in_json",
    "dataset_repeats",
    "train_batch_size",
    "caption_extention",
)
"""Options about pictures that are none in a dataset TOML."""
OF_SUBSET = ("image_dir", "metadata_file", "is_reg")
"""What only a single subset can have."""
ALL_KEYS = {
    **{
        name: key
        for name, key in {**FOLLOWED, **OURS}.items()
        if key.fills.startswith("datasets.") and name not in OF_COMMAND
    },
    **DATASET_ONLY,
}
OF_BUCKETS = tuple(name for name, key in ALL_KEYS.items() if key.fills.startswith("datasets.buckets."))
LIMITS = ("min_bucket_reso", "max_bucket_reso")
OF_DATASET = tuple(name for name, key in ALL_KEYS.items() if not key.fills.startswith("datasets.subsets."))
_HARMLESS = {"cache_info": HARMLESS["cache_info"]}
_REFUSED = {
    name: REFUSED[name]
    for name in (
        "face_crop_aug_range",
        "conditioning_data_dir",
        "custom_attributes",
        "network_multiplier",
        "resize_interpolation",
    )
}
SHARED = Tables({name: key for name, key in ALL_KEYS.items() if name not in OF_SUBSET}, _HARMLESS, _REFUSED)
"""What may stand in [general] and [[datasets]]."""
SUBSET = Tables({name: key for name, key in ALL_KEYS.items() if name not in OF_DATASET}, _HARMLESS, _REFUSED)
"""What may stand in [[datasets.subsets]]."""


def read_datasets(settings: Settings) -> tuple[Dataset, ...]:
    """The datasets that the settings name; faults are collected."""
    datasets = _named(settings)
    _tell_of_buckets(settings.values, datasets, settings.faults, settings.sources)
    return datasets


def _check_sizes(dataset: Dataset, faults: Faults, source: str, within: str = "") -> None:
    """Report a resolution that no picture can have, or that its buckets contradict."""
    if any(map(faults.refused, ("resolution", *OF_BUCKETS))):
        return
    try:
        check_buckets(dataset)
    except DataError as error:
        faults.error("wrong_value", source, within + "resolution", str(error))


def _named(settings: Settings) -> tuple[Dataset, ...]:
    named = [key for key in ("train_data_dir", "reg_data_dir", "in_json") if settings.get(key)]
    options = _as_in_a_dataset(settings)
    if settings.get("dataset_config"):
        for key in named:
            message = "pictures are named by dataset_config and by this"
            settings.error("contradiction", key, message, "keep one of them; a dataset_config can name all folders")
        return _of_file(settings, settings.get("dataset_config"), options)
    if not settings.get("train_data_dir") and not settings.get("in_json"):
        if not any(map(settings.is_set, ("train_data_dir", "in_json", "dataset_config"))):
            settings.error("missing_key", "train_data_dir", "there is nothing to train on", "name a folder of pictures")
        return ()
    _warn_of_no_resolution(options, settings.faults, settings.main)
    dataset = _dataset(options, _of_folders(settings, options))
    _check_sizes(dataset, settings.faults, settings.source("resolution"))
    return (dataset,)


def _as_in_a_dataset(settings: Settings) -> dict[str, Any]:
    """Options under the names that they have in a dataset TOML."""
    renamed = {
        "train_batch_size": "batch_size",
        "dataset_repeats": "num_repeats",
        "caption_extention": "caption_extension",
    }
    values = {renamed.get(name, name): value for name, value in settings.values.items()}
    return {name: value for name, value in values.items() if name in ALL_KEYS}


def _of_folders(settings: Settings, options: Values) -> tuple[Subset, ...]:
    like = _subset(options)
    if (listing := settings.get("in_json")) is not None:
        if settings.get("reg_data_dir"):
            message = "in_json says what the pictures are: these are not used"
            settings.warn("contradiction", "reg_data_dir", message, "name both folders in a dataset_config")
        return (replace(like, image_dir=settings.get("train_data_dir"), metadata_file=listing),)
    found: list[Subset] = []
    for key in ("train_data_dir", "reg_data_dir"):
        if (folder := settings.get(key)) is not None:
            found += _below(settings, key, folder, like) if folder.exists() else ()
    return tuple(_with_extension(options, subset) for subset in found)


def _below(settings: Settings, key: str, folder: Path, like: Subset) -> Sequence[Subset]:
    def warn(message: str) -> None:
        settings.warn("data", key, message)

    try:
        if key == "train_data_dir" and (plain := _plain_folder(folder)) is not None:
            times = f"{like.repeats} times an epoch"
            warn(f"no folder in it is named like 10_name, so the pictures of {plain} are used {times}")
            captions = folder / "captions" if plain != folder and (folder / "captions").is_dir() else None
            return [replace(like, image_dir=plain, caption_dir=like.caption_dir or captions)]
        if key == "train_data_dir" and settings.get("dataset_repeats"):
            message = "folders named like 10_name say themselves how often their pictures are used: it is not used"
            settings.warn("contradiction", "dataset_repeats", message, "rename the folders, or leave it out")
        return kohya_subsets(folder, like, is_reg=key == "reg_data_dir", warn=warn)
    except DataError as error:
        settings.error("data", key, str(error))
        return ()


def _plain_folder(folder: Path) -> Path | None:
    """Where the pictures are, if not in folders named like `10_name`: in the folder itself, or in `images/`."""
    if not folder.is_dir() or is_counted(folder) or any(map(is_counted, filter(Path.is_dir, folder.iterdir()))):
        return None
    return next((place for place in (folder, folder / "images") if place.is_dir() and picture_files(place)), None)


def _of_file(settings: Settings, path: Path, options: Values) -> tuple[Dataset, ...]:
    faults, source = settings.faults, str(path)
    if (document := _document(settings, path)) is None:
        return ()
    for name in document.keys() - {"general", "datasets"}:
        faults.error("unknown_key", source, name, "a dataset TOML has [general] and [[datasets]] only")
    general = _table(document.get("general", {}), SHARED, faults, source, "general.")
    tables = _tables(document.get("datasets", []), faults, source, "datasets")
    if not tables:
        faults.error("missing_key", source, "datasets", "there is no [[datasets]]", "add one with [[datasets.subsets]]")
    datasets = tuple(
        _of_table(table, [general, options], faults, source, f"datasets[{number}].")
        for number, table in enumerate(tables)
    )
    _tell_of_buckets(general, datasets, faults, dict.fromkeys(general, source), "general.")
    return datasets


def _document(settings: Settings, path: Path) -> dict[str, object] | None:
    """What stands in a file; None if it cannot be read."""
    faults = settings.faults
    try:
        document = read_document(path)
    except OSError as error:
        faults.missing(settings.source("dataset_config"), "dataset_config", f"{path} cannot be read: {error}")
        return None
    except ValueError as error:
        faults.error(f"not_{format_of(path).lower()}", str(path), "", str(error))
        return None
    if not isinstance(document, dict):
        faults.error("wrong_value", str(path), "", "expected an object with general and datasets")
        return None
    return cast("dict[str, object]", document)


def _of_table(
    table: Mapping[str, object], outer: Sequence[Values], faults: Faults, source: str, within: str
) -> Dataset:
    own = _table({name: value for name, value in table.items() if name != "subsets"}, SHARED, faults, source, within)
    tables = _tables(table.get("subsets", []), faults, source, within + "subsets")
    if not tables:
        faults.error("missing_key", source, within + "subsets", "no pictures are named", "add [[datasets.subsets]]")
    subsets: list[Subset] = []
    for number, each in enumerate(tables):
        place = f"{within}subsets[{number}]."
        values = ChainMap(_table(each, SUBSET, faults, source, place), own, *map(dict, outer))
        if "image_dir" not in values and "metadata_file" not in values:
            faults.error("missing_key", source, place + "image_dir", "this subset names no pictures")
        for name in ("image_dir", "metadata_file"):
            if name in values and not values[name].exists():
                faults.missing(source, place + name, f"there is no {values[name]}")
        subsets.append(_with_extension(values, _subset(values)))
    whole = ChainMap(own, *map(dict, outer))
    _warn_of_no_resolution(whole, faults, source, within)
    dataset = _dataset(whole, tuple(subsets))
    _tell_of_buckets(own, [dataset], faults, dict.fromkeys(own, source), within)
    _check_sizes(dataset, faults, source, within)
    return dataset


def _warn_of_no_resolution(values: Values, faults: Faults, source: str, within: str = "") -> None:
    """sd-scripts does not train without one."""
    if "resolution" not in values and not faults.refused("resolution"):
        message = "is not set, so pictures are trained at 512 x 512"
        faults.warn("default_resolution", source, within + "resolution", message, "set what the base was trained at")


def _tell_of_buckets(
    values: Values, datasets: Sequence[Dataset], faults: Faults, sources: Mapping[str, str], within: str = ""
) -> None:
    """Of settings of buckets that no dataset uses."""
    buckets = [dataset.buckets for dataset in datasets if dataset.buckets]
    for name in filter(values.get, OF_BUCKETS):
        if not buckets:
            message = "there are no buckets: it is not used"
            faults.warn("contradiction", sources[name], within + name, message, "set enable_bucket, or leave it out")
        elif name in LIMITS and all(each.no_upscale for each in buckets):
            message = "of no consequence here: with bucket_no_upscale the pictures' own sizes make the buckets"
            faults.note("no_consequence", sources[name], within + name, message)


def _tables(value: object, faults: Faults, source: str, place: str) -> list[Mapping[str, object]]:
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in items):
        faults.error("wrong_value", source, place, f"expected [[{place.partition('[')[0]}]] tables, not {value!r}")
        return []
    return cast("list[Mapping[str, object]]", items)


def _table(value: object, tables: Tables, faults: Faults, source: str, within: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        faults.error("wrong_value", source, within.rstrip("."), f"expected a table, not {value!r}")
        return {}
    raw = cast("dict[str, object]", value)
    misplaced = [name for name in raw if name in ALL_KEYS and name not in tables.followed]
    for name in misplaced:
        where = "[[datasets.subsets]]" if name in OF_SUBSET else "[[datasets]] or [general]"
        faults.error("misplaced_key", source, within + name, f"belongs into {where}")
    raw = {name: each for name, each in raw.items() if name not in misplaced}
    return checked(raw, dict.fromkeys(raw, source), tables, faults, within)


def _dataset(values: Values, subsets: tuple[Subset, ...]) -> Dataset:
    buckets = Buckets(**fill(values, "datasets.buckets")) if values.get("enable_bucket") else None
    return Dataset(subsets, buckets=buckets, **fill(values, "datasets"))


def _subset(values: Values) -> Subset:
    captions = CaptionRules(**fill(values, "datasets.subsets.captions"))
    augment = Augment(**fill(values, "datasets.subsets.augment"))
    fields: dict[str, Any] = {"image_dir": None} | fill(values, "datasets.subsets")
    return Subset(captions=captions, augment=augment, **fields)


def _with_extension(values: Values, subset: Subset) -> Subset:
    """Without an extension in the settings, the one that is there: `.txt`, or kohya's own default `.caption`."""
    given: str = values.get("caption_extension") or _extension(subset.image_dir)
    extension = given if given.startswith(".") else "." + given
    return replace(subset, captions=replace(subset.captions, extension=extension))


def _extension(folder: Path | None) -> str:
    places = [folder, folder / "captions"] if folder is not None else list[Path]()
    found = [name for name in EXTENSIONS if any(any(place.glob("*" + name)) for place in places if place.is_dir())]
    return found[0] if found else EXTENSIONS[0]
