"""kohya's folders: `train/10_sks cat/` is pictures of `sks cat`, each used ten times an epoch."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from graphexec.train.config import Subset
from graphexec.train.data.faults import DataError, listed

__all__ = ["PICTURES", "is_picture", "kohya_subsets", "picture_files"]

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
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
    named = {folder: match for folder in folders if (match := _FOLDER.fullmatch(folder.name)) and int(match[1]) > 0}
    if not named:
        raise DataError(_nothing_named(parent, folders))
    if left_out := [folder.name for folder in folders if folder not in named]:
        warn(f"{parent}: left out, not named like 10_name: {listed(left_out)}")
    return tuple(
        replace(like, image_dir=folder, repeats=int(match[1]), class_tokens=match[2] or None, is_reg=is_reg)
        for folder, match in named.items()
    )


def picture_files(folder: Path) -> list[Path]:
    """The pictures in a folder (not below it), by name. Raises `DataError` if there is no such folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    return sorted(filter(is_picture, folder.iterdir()))


def is_picture(path: Path) -> bool:
    """Whether a path is a file that is named like a picture, and not hidden."""
    return path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.is_file()


def _nothing_named(parent: Path, folders: list[Path]) -> str:
    wanted = f"{parent} holds no folder named like 10_name (how often its pictures are used in an epoch, and what of)"
    if _FOLDER.fullmatch(parent.name):
        return f"{wanted}, but is named so itself: give the folder above it, {parent.parent}"
    if picture_files(parent):
        return f"{wanted}: move its pictures into {parent / '10_name'}"
    return f"{wanted}: rename {listed([folder.name for folder in folders])}" if folders else wanted
