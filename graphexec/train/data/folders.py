"""kohya's folders: `train/10_sks cat/` is pictures of `sks cat`, each used ten times an epoch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from graphexec.train.config import Subset
from graphexec.train.data.faults import DataError, listed

__all__ = [
    "OTHER_KINDS",
    "PICTURES",
    "counted",
    "is_counted",
    "is_of_another_kind",
    "is_picture",
    "kohya_subsets",
    "left_out",
    "no_pictures",
    "picture_files",
]

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
OTHER_KINDS = (".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".tif", ".tiff")
MOST_REPEATS = 10_000
_FOLDER = re.compile(r"(\d+)(?:_(.*))?")


def kohya_subsets(
    parent: Path, like: Subset, *, is_reg: bool = False, warn: Callable[[str], object]
) -> tuple[Subset, ...]:
    """The folders `N_name` below `parent`, by name, with the captions and augmentation of `like`.

    Folders with other names, or with N 0, are left out with a warning. Raises `DataError` if none is left.
    """
    if not parent.is_dir():
        raise DataError(f"{parent}: there is no such folder")
    folders = sorted(entry for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    named = {folder: count for folder in folders if (count := counted(folder)) is not None and count[0]}
    if not named:
        raise DataError(_nothing_named(parent, folders))
    if others := [folder.name for folder in folders if folder not in named]:
        warn(f"{parent}: left out, not named like 10_name: {listed(others)}")
    if loose := picture_files(parent):
        warn(f"{parent}: left out, in no folder named like 10_name: {listed([path.name for path in loose])}")
    return tuple(
        replace(like, image_dir=folder, repeats=repeats, class_tokens=name, is_reg=is_reg)
        for folder, (repeats, name) in named.items()
    )


def counted(folder: Path) -> tuple[int, str | None] | None:
    """How often the pictures of a folder named `10_sks cat` are used in an epoch, and what of; None if not so named.

    Raises `DataError` for a number that is no count, such as a date.
    """
    named = _FOLDER.fullmatch(folder.name)
    if named is None:
        return None
    repeats = int(named[1])
    if repeats > MOST_REPEATS:
        raise DataError(
            f"{folder}: by its name each of its pictures is used {repeats} times an epoch, more than {MOST_REPEATS}: "
            f"rename it, as to 1_{named[2] or 'name'}"
        )
    return repeats, named[2] or None


def is_counted(folder: Path) -> bool:
    """Whether a folder's name says how often its pictures are used, as `10_name` does."""
    return _FOLDER.fullmatch(folder.name) is not None


def picture_files(folder: Path) -> list[Path]:
    """The pictures in a folder (not below it), by name. Raises `DataError` if there is no such folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    return sorted(filter(is_picture, folder.iterdir()))


def is_picture(path: Path) -> bool:
    """Whether a path is a file that is named like a picture, and not hidden."""
    return path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.is_file()


def left_out(folder: Path, *, below: bool = True) -> Iterator[str]:
    """What is said of pictures that are not taken: those of other kinds, and with `below` those of folders in it."""
    if others := _of_other_kinds(folder):
        yield f"{folder}: left out, not of the kinds {', '.join(PICTURES)}: {listed(others)}"
    if below and (folders := _folders_with_pictures(folder)):
        yield f"{folder}: left out, pictures in folders of it: {listed(folders)}"


def no_pictures(folder: Path) -> str:
    """What is said of a folder without pictures, and where some are."""
    wanted = f"{folder} holds no pictures ({', '.join(PICTURES)})"
    if below := _folders_with_pictures(folder):
        return f"{wanted}, but its folders do: {listed(below)}; give one of them"
    others = _of_other_kinds(folder)
    return f"{wanted}, but some of other kinds: {listed(others)}; convert them" if others else wanted


def is_of_another_kind(path: Path) -> bool:
    """Whether a path is named like a picture of a kind that is not read, and is not hidden."""
    return path.suffix.lower() in OTHER_KINDS and not path.name.startswith(".") and path.is_file()


def _of_other_kinds(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if is_of_another_kind(path))


def _folders_with_pictures(folder: Path) -> list[str]:
    within = (entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return sorted(entry.name for entry in within if picture_files(entry))


def _nothing_named(parent: Path, folders: list[Path]) -> str:
    wanted = f"{parent} holds no folder named like 10_name (how often its pictures are used in an epoch, and what of)"
    if is_counted(parent):
        return f"{wanted}, but is named so itself: give the folder above it, {parent.parent}"
    if picture_files(parent):
        return f"{wanted}: move its pictures into {parent / '10_name'}"
    return f"{wanted}: rename {listed([folder.name for folder in folders])}" if folders else wanted
