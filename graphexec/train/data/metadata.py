"""JSON that lists pictures with captions, as sd-scripts' fine-tuning tools write it.

`{"name or path": {"caption": "…", "tags": "a, b", "train_resolution": [width, height]}, …}`
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from graphexec.train.config import Subset
from graphexec.train.data.buckets import CELL, Size
from graphexec.train.data.faults import DataError, listed
from graphexec.train.data.folders import PICTURES

__all__ = ["Entry", "read_metadata"]

MOST_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture, its caption, and the size that the file gives it (None: the run chooses)."""

    path: Path
    text: str
    bucket: Size | None


def read_metadata(file: Path, subset: Subset) -> list[Entry]:
    """The pictures that a metadata file lists, in its order.

    Names are looked for below `image_dir`, else below the file's folder, with or without their extension. Raises
    `DataError` for a file that is no such JSON, a picture that is not there, and a name that leaves the folder.
    """
    root = (subset.image_dir or file.parent).resolve()
    entries = [_entry(file, root, name, entry, subset) for name, entry in _load(file).items()]
    twice = [path for path, times in Counter(entry.path for entry in entries).items() if times > 1]
    if twice:
        raise DataError(f"{file}: lists {listed(twice)} more than once")
    return entries


def _load(file: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise DataError(f"{file}: larger than {MOST_BYTES} bytes")
        content: object = json.loads(data)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON ({error})") from error
    entries = cast("dict[str, object]", content) if isinstance(content, dict) else None
    if not entries or not all(isinstance(entry, dict) for entry in entries.values()):
        raise DataError(f'{file}: expected an object of pictures: {{"name": {{"caption": "…", "tags": "…"}}, …}}')
    return cast("Mapping[str, Mapping[str, Any]]", entries)


def _entry(file: Path, root: Path, name: str, entry: Mapping[str, Any], subset: Subset) -> Entry:
    where = f"{file}: {name}"
    return Entry(
        _picture(where, root, name), _text(where, entry, subset), _bucket(where, entry.get("train_resolution"))
    )


def _picture(where: str, root: Path, name: str) -> Path:
    plain = root / name
    path = next((path for path in (plain, *(Path(f"{plain}{suffix}") for suffix in PICTURES)) if path.is_file()), None)
    if path is None:
        raise DataError(f"{where}: there is no such picture below {root}; set image_dir to the folder of the pictures")
    if not path.resolve().is_relative_to(root):
        raise DataError(f"{where}: lies outside of {root}; set image_dir to a folder that holds all pictures")
    if path.suffix.lower() not in PICTURES:
        raise DataError(f"{where}: not one of {', '.join(PICTURES)}")
    return path


def _text(where: str, entry: Mapping[str, Any], subset: Subset) -> str:
    """Each line of the caption with the tags after it; tags alone if there is no caption."""
    caption, tags = _string(where, entry, "caption"), _string(where, entry, "tags")
    if not caption or not tags:
        return caption or tags or subset.class_tokens or ""
    joined = tags.replace("\n", subset.captions.separator)
    return "\n".join(f"{line}{subset.captions.separator}{joined}" for line in caption.split("\n") if line.strip())


def _string(where: str, entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: {key} is {value!r}, expected text")
    return value or ""


def _bucket(where: str, value: object) -> Size | None:
    if value is None:
        return None
    sides = cast("list[object]", value) if isinstance(value, list) else []
    multiples = [side for side in sides if isinstance(side, int) and side >= CELL and side % CELL == 0]
    if len(sides) != 2 or len(multiples) != 2:
        raise DataError(f"{where}: train_resolution is {value!r}, expected [width, height], multiples of {CELL}")
    return multiples[0], multiples[1]
