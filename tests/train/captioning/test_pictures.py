"""Which pictures are found, and how they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphexec.errors import FolderError
from graphexec.train.captioning.errors import CaptionError
from graphexec.train.captioning.pictures import find_pictures, read_picture
from graphexec.train.data.faults import DataError


def test_pictures_are_found_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.PNG", "a.jpg", "a.txt", "._a.png", "sub/c.webp"):
        (tmp_path / name).touch()
    assert [path.name for path in find_pictures(tmp_path, recursive=False)] == ["a.jpg", "b.PNG"]
    assert [path.name for path in find_pictures(tmp_path, recursive=True)] == ["a.jpg", "b.PNG", "c.webp"]


def test_a_folder_without_pictures_is_an_error_that_helps(tmp_path: Path) -> None:
    with pytest.raises(CaptionError, match=r"holds no pictures \(.png, .*bmp\)$"):
        find_pictures(tmp_path, recursive=True)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.png").touch()
    with pytest.raises(CaptionError, match="add --recursive"):
        find_pictures(tmp_path, recursive=False)
    with pytest.raises(FolderError, match="is not a folder"):
        find_pictures(tmp_path / "sub" / "c.png", recursive=False)


def test_transparent_is_white_and_photographs_stand_upright(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 1), (9, 9, 9, 0)).save(tmp_path / "clear.png")
    assert read_picture(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (4, 2), 7).save(tmp_path / "turned.png", exif=exif)
    turned = read_picture(tmp_path / "turned.png")
    assert (turned.size, turned.mode) == ((2, 4), "RGB")


def test_grey_of_16_bits_keeps_its_shades(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 0x8080, 0xFFFF]], np.uint16)).save(tmp_path / "grey.png")
    grey = read_picture(tmp_path / "grey.png")
    assert [grey.getpixel((x, 0)) for x in range(4)] == [(shade,) * 3 for shade in (0, 1, 128, 255)]


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"x\.png: not a picture of the kinds PNG"):
        read_picture(tmp_path / "x.png")


def test_a_picture_cut_short_is_named(tmp_path: Path) -> None:
    picture = tmp_path / "x.png"
    Image.effect_noise((64, 64), 50).save(picture)
    picture.write_bytes(picture.read_bytes()[:900])
    with pytest.raises(DataError, match=r"x\.png: cannot be read as a picture"):
        read_picture(picture)


def test_damaged_exif_leaves_a_picture_as_it_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 2), 7).save(tmp_path / "x.jpg", exif=exif)
    data = bytearray((tmp_path / "x.jpg").read_bytes())
    place = data.index(b"Exif") + 6
    data[place : place + 8] = b"\xff" * 8
    (tmp_path / "x.jpg").write_bytes(data)
    assert read_picture(tmp_path / "x.jpg").size == (4, 2)
