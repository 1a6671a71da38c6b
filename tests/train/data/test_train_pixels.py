# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from PIL import Image
from train.data.sets import picture

from graphexec.diffusion.imaging import pixels
from graphexec.errors import ModelFileError
from graphexec.train.config import Dataset, Subset
from graphexec.train.data.find import find_pictures
from graphexec.train.data.pictures import Picture
from graphexec.train.data.pixels import seen
from graphexec.train.data.resize import resized
from graphexec.train.data.views import View, plain_view


def the_picture(folder: Path, *, alpha_mask: bool = False, size: tuple[int, int] = (64, 64)) -> Picture:
    subset = Subset(folder, class_tokens="x", alpha_mask=alpha_mask)
    return find_pictures([Dataset((subset,), size)]).pictures[0]


def test_only_the_first_frame_of_a_moving_picture_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "green", "blue")]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    moving, read = the_picture(tmp_path), list[Image.Image]()

    def upright(frame: Image.Image) -> Image.Image:
        read.append(frame)
        return frame

    monkeypatch.setattr(pixels, "upright", upright)
    assert seen(moving, plain_view(moving)).pixels.mean(dim=(1, 2)).tolist() == [1, -1, -1]
    assert len(read) == 1


def test_shrinking_takes_means_over_areas() -> None:
    row = np.array([[[1.0], [0.0], [0.5]]], np.float32)
    assert_allclose(resized(row, (2, 1))[0, :, 0], [(1 + 0) / 1.5, (0 + 0.5) / 1.5], atol=1e-6)
    block = np.arange(16, dtype=np.float32).reshape(4, 4, 1) / np.float32(16)
    assert_allclose(resized(block, (2, 2))[..., 0] * 16, [[2.5, 4.5], [10.5, 12.5]], atol=1e-5)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_any_size_keeps_flat_colors_and_the_range(width: int, height: int, across: int, down: int) -> None:
    flat = resized(np.full((height, width, 3), 0.25, np.float32), (across, down))
    assert flat.shape == (down, across, 3)
    assert_allclose(flat, 0.25, atol=1e-5)


@given(st.integers(1, 30), st.integers(1, 30))
def test_shrinking_keeps_the_mean(width: int, new: int) -> None:
    row = np.random.default_rng(width).random((1, width, 1), np.float32)
    if new <= width:
        assert_allclose(resized(row, (new, 1)).mean(), row.mean(), rtol=1e-4)


def test_enlarging_stays_in_range() -> None:
    edge = np.zeros((8, 8, 1), np.float32)
    edge[:, 4:] = 1
    large = resized(edge, (20, 20))
    assert large.min() == 0
    assert large.max() == 1
    assert (np.diff(large[10, 8:12, 0]) > 0).all()


def half_and_half(path: Path) -> Path:
    """Red on the left, blue on the right, 128 by 64."""
    image = Image.new("RGB", (128, 64), (255, 0, 0))
    image.paste((0, 0, 255), (64, 0, 128, 64))
    image.save(path)
    return path


def test_a_picture_is_cut_then_mirrored(tmp_path: Path) -> None:
    half_and_half(tmp_path / "a.png")
    one = the_picture(tmp_path)
    middle = seen(one, plain_view(one)).pixels
    assert middle.shape == (3, 64, 64)
    assert middle[:, 0, 0].tolist() == [1, -1, -1]
    assert middle[:, 0, 63].tolist() == [-1, -1, 1]
    assert torch.equal(seen(one, View(32, 0, flipped=True)).pixels, middle.flip(-1))
    assert seen(one, View(64, 0)).pixels[0].max() == -1
    assert seen(one, plain_view(one)).mask is None


def test_cameras_pictures_are_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Turned clockwise to be seen: what was on the left is at the top.
    image = Image.new("RGB", (128, 64), (255, 0, 0))
    image.paste((0, 0, 255), (64, 0, 128, 64))
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    one = the_picture(tmp_path)
    assert one.original == (64, 128)
    pixels = seen(one, View(0, 0)).pixels
    assert pixels[0, 10].mean() > 0.9
    assert seen(one, View(0, 64)).pixels[2, 50].mean() > 0.9


def test_transparent_parts_are_white_without_a_mask(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (64, 64), (255, 0, 0, 0))
    assert seen(the_picture(tmp_path), View(0, 0)).pixels.min() == 1
    picture(tmp_path / "a.png", (64, 64), (255, 0, 0, 51))
    assert_allclose(seen(the_picture(tmp_path), View(0, 0)).pixels[:, 0, 0], [1, 0.6, 0.6], atol=1e-6)


def test_alpha_is_the_mask_where_asked_for(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (64, 64), (255, 0, 0, 51))
    one = seen(the_picture(tmp_path, alpha_mask=True), View(0, 0))
    assert one.mask is not None
    assert one.mask.shape == (1, 64, 64)
    assert_allclose(one.mask, 0.2, atol=1e-6)
    assert one.pixels[:, 0, 0].tolist() == [1, -1, -1]
    picture(tmp_path / "a.png", (64, 64))
    opaque = seen(the_picture(tmp_path, alpha_mask=True), View(0, 0)).mask
    assert opaque is not None
    assert opaque.min() == 1


def test_other_colors(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (64, 64), (128, 64, 64))
    one = the_picture(tmp_path)
    plain = (seen(one, View(0, 0)).pixels + 1) / 2
    darker = (seen(one, View(0, 0, gamma=1.05)).pixels + 1) / 2
    assert_allclose(darker, plain**1.05, atol=1e-6)
    turned = ((seen(one, View(0, 0, hue=1 / 3)).pixels + 1) / 2)[:, 0, 0] * 255
    assert_allclose(turned, [64, 128, 64], atol=2)


def test_damaged_pictures_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    one = the_picture(tmp_path)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(ModelFileError, match=r"a\.png cannot be read as a picture"):
        seen(one, View(0, 0))
