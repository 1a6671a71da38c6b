"""Pictures of a folder, as captioners see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from graphexec.diffusion.imaging.upright import upright
from graphexec.errors import FolderError
from graphexec.train.captioning.errors import CaptionError
from graphexec.train.data.folders import PICTURES, is_of_another_kind, is_picture
from graphexec.train.data.headers import opened

__all__ = ["Picture", "find_pictures", "pictures_of_other_kinds", "read_picture"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in RGB, and the name that its random numbers are drawn by."""

    name: str
    image: Image.Image


def find_pictures(folder: Path, recursive: bool) -> list[Path]:
    """The pictures of a folder in the order of their names, but for hidden ones.

    Raises CaptionError where there is none, FolderError.
    """
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder of pictures")
    found = _within(folder, recursive)
    if not found:
        kinds = ", ".join(PICTURES)
        hint = "; its subfolders do: add --recursive" if not recursive and _within(folder, True) else ""
        raise CaptionError(f"{folder} holds no pictures ({kinds}){hint}")
    return found


def pictures_of_other_kinds(folder: Path, recursive: bool) -> list[Path]:
    """Pictures of kinds that are not read, in the order of their names, but for hidden ones."""
    return _within(folder, recursive, is_of_another_kind)


def _within(folder: Path, recursive: bool, wanted: Callable[[Path], bool] = is_picture) -> list[Path]:
    return sorted(filter(wanted, folder.rglob("*") if recursive else folder.iterdir()))


def read_picture(path: Path) -> Image.Image:
    """A picture in RGB, turned upright, its transparent parts white; raises DataError.

    kohya's scripts leave it to chance what shows where a picture is transparent, and look at photographs sideways.
    """
    with opened(path) as file:
        picture = upright(file)
        if picture.mode.startswith("I"):  # grey of 16 bits, of which Pillow's conversion makes white
            return picture.point(lambda value: value * (1 / 257)).convert("RGB")
        if not picture.has_transparency_data:
            return picture.convert("RGB")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
