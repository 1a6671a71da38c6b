"""Pictures that lie on their side, as photographs do, and how their EXIF says so."""

from __future__ import annotations

from PIL import ExifTags, Image
from PIL.Image import Transpose

from graphexec.errors import DAMAGED_PICTURE

__all__ = ["swaps_sides", "upright"]

TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What makes a picture upright, by its orientation."""
SWAPPING = (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)


def upright(picture: Image.Image) -> Image.Image:
    """A picture turned as its EXIF asks; as it is where that cannot be read."""
    turn = _turn(picture)
    return picture if turn is None else picture.transpose(turn)


def swaps_sides(picture: Image.Image) -> bool:
    """Whether width and height change places when it is turned upright."""
    return _turn(picture) in SWAPPING


def _turn(picture: Image.Image) -> Transpose | None:
    try:
        return TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except DAMAGED_PICTURE:
        return None
