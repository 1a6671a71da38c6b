"""Pictures of a folder and their captions as values, for graphs that train."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from graphexec.diffusion.imaging.pixels import load_picture
from graphexec.diffusion.imaging.resize import resize_picture
from graphexec.train.config import Subset
from graphexec.train.data.captions import caption_texts
from graphexec.train.data.faults import DataError
from graphexec.train.data.folders import counted, left_out, no_pictures, picture_files

__all__ = ["FitMethod", "load_pictures", "load_with_captions", "one_batch"]

FitMethod = Literal["None", "Stretch", "Crop", "Pad"]
T = TypeVar("T")
Warn = Callable[[str], object]


def load_pictures(folder: Path, warn: Warn) -> list[Tensor]:
    """The pictures of a folder by name, each [1, H, W, 3] of its own size. Raises `DataError` if there are none.

    `warn` is told of pictures that are left out: of other kinds, and in folders below this one.
    """
    paths = _some(folder, picture_files(folder))
    for told in left_out(folder):
        warn(told)
    return [_load(path) for path in paths]


def load_with_captions(folder: Path, warn: Warn) -> tuple[list[Tensor], list[str]]:
    """Pictures in a folder and its subfolders by name, and what their caption files say.

    Those of a subfolder `10_sks cat` come ten times, and are captioned `sks cat` where there is no file. A picture
    without any caption gets an empty one, with a warning; pictures that are left out are warned of too. Raises
    `DataError` if there are no pictures or no captions.
    """
    pictures: list[Tensor] = []
    texts: list[str] = []
    for place, subset in _subsets(folder):
        paths = picture_files(place)
        for told in left_out(place, below=place != folder):
            warn(told)
        loaded = [_load(path) for path in paths]
        found = [text.strip() for text in caption_texts(subset, paths, warn)] if paths else []
        pictures += loaded * subset.repeats
        texts += found * subset.repeats
    _some(folder, pictures)
    return pictures, texts


def one_batch(pictures: Sequence[Tensor], method: FitMethod, width: int = -1, height: int = -1) -> Tensor:
    """Pictures [1, H, W, 3] as one batch [B, H, W, 3] of the size asked for; -1: of the first picture's.

    Raises `DataError` if sizes differ and the method is "None".
    """
    rows, columns = (pictures[0].shape[1] if height < 0 else height), (pictures[0].shape[2] if width < 0 else width)
    return torch.cat([_fitted(picture, method, columns, rows) for picture in pictures])


def _some(folder: Path, found: list[T]) -> list[T]:
    if not found:
        raise DataError(no_pictures(folder))
    return found


def _load(path: Path) -> Tensor:
    return load_picture(path, most=1)[0]


def _subsets(folder: Path) -> Iterator[tuple[Path, Subset]]:
    """The folder itself, and each folder in it."""
    yield folder, Subset(folder)
    for each in sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        repeats, name = counted(each) or (1, None)
        if repeats:
            yield each, Subset(each, repeats=repeats, class_tokens=name)


def _fitted(picture: Tensor, method: FitMethod, width: int, height: int) -> Tensor:
    rows, columns = picture.shape[1:3]
    if (rows, columns) == (height, width):
        return picture
    match method:
        case "None":
            raise DataError(
                f"a picture of {columns} x {rows} is not of the batch's size {width} x {height}: choose how to resize,"
                " or use LoadImageTextDataSetFromFolder, which keeps each picture's own size"
            )
        case "Stretch":
            return _resized(picture, width, height)
        case "Crop":
            return resize_picture(picture, width, height, "bicubic", "center").clamp(0, 1)
        case "Pad":
            return _padded(picture, width, height)


def _resized(picture: Tensor, width: int, height: int) -> Tensor:
    return resize_picture(picture, width, height, "bicubic").clamp(0, 1)


def _padded(picture: Tensor, width: int, height: int) -> Tensor:
    """Whole, with black beside it."""
    rows, columns = picture.shape[1:3]
    scale = min(width / columns, height / rows)
    inner = _resized(picture, max(1, round(columns * scale)), max(1, round(rows * scale)))
    across, down = width - inner.shape[2], height - inner.shape[1]
    return F.pad(inner, (0, 0, across // 2, across - across // 2, down // 2, down - down // 2))
