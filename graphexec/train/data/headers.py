"""How large pictures are, by their files' headers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from graphexec.diffusion.imaging.pngs import pixels_only
from graphexec.diffusion.imaging.upright import swaps_sides
from graphexec.errors import DAMAGED_PICTURE
from graphexec.train.data.buckets import Size
from graphexec.train.data.faults import DataError

__all__ = ["opened", "upright_size"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")


def upright_size(path: Path) -> Size:
    """Width and height of a picture as it is shown: turned as EXIF says (sd-scripts leaves it on its side)."""
    with opened(path) as image:
        width, height = image.size
        turned = swaps_sides(image)
    return (height, width) if turned else (width, height)


@contextmanager
def opened(path: Path) -> Generator[Image.Image]:
    """A picture's file; `DataError` names one that cannot be read, has too many pixels or is of another format."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _open(path) as image:
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: too many pixels; make it smaller ({error})") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not a picture of the kinds {', '.join(FORMATS)}, or damaged") from error
    except DAMAGED_PICTURE as error:
        raise DataError(f"{path}: cannot be read as a picture ({error})") from error


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=FORMATS)
    except ValueError:  # Pillow refuses long texts, as large workflows are, and all of the picture with them
        return Image.open(io.BytesIO(pixels_only(path.read_bytes())), formats=FORMATS)
