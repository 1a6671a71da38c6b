"""Pictures as files: cut off as ComfyUI does, upright, with what alpha leaves out."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from graphexec.diffusion.imaging.pixels import PictureError, encode_png, load_mask, load_picture
from graphexec.errors import ModelFileError


def test_values_are_cut_off_not_rounded() -> None:
    picture = torch.tensor([0.0, 0.1, 0.5, 1.0, 1.7, -0.2]).reshape(1, 6, 1).expand(1, 6, 3)
    with Image.open(io.BytesIO(encode_png(picture, {}))) as read:
        assert np.asarray(read)[0, :, 0].tolist() == [0, 25, 127, 255, 255, 0]


def test_texts_come_back() -> None:
    with Image.open(io.BytesIO(encode_png(torch.zeros(2, 2, 3), {"prompt": '{"ä": 1}', "workflow": "{}"}))) as read:
        assert read.info == {"prompt": '{"ä": 1}', "workflow": "{}"}


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_channels(channels: int, mode: str) -> None:
    with Image.open(io.BytesIO(encode_png(torch.rand(4, 5, channels), {}))) as read:
        assert (read.mode, read.size) == (mode, (5, 4))


def test_nan_is_no_picture() -> None:
    with pytest.raises(PictureError, match="NaN"):
        encode_png(torch.full((2, 2, 3), torch.nan), {})


def test_a_written_picture_is_read_alike(tmp_path: Path) -> None:
    picture = torch.randint(0, 256, (7, 9, 3)).float() / 255
    (tmp_path / "p.png").write_bytes(encode_png(picture, {}))
    pixels, mask = load_picture(tmp_path / "p.png")
    assert torch.allclose(pixels[0], picture, atol=1 / 255)
    assert mask.shape == (1, 64, 64)
    assert not mask.any()


def test_sixteen_bits_of_grey_do_not_saturate(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16)).save(tmp_path / "grey.png")
    pixels, _ = load_picture(tmp_path / "grey.png")
    assert torch.allclose(pixels[0, 0, :, 0], torch.tensor([0.0, 32768 / 65535, 1.0]))


def test_turned_pictures_stand_upright(tmp_path: Path) -> None:
    picture = Image.new("RGB", (6, 4))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert load_picture(tmp_path / "turned.jpg")[0].shape == (1, 6, 4, 3)


def test_frames_are_a_batch(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "green", "blue")]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert load_picture(tmp_path / "moving.webp")[0].shape == (3, 4, 4, 3)


@pytest.mark.parametrize("suffix", ["png", "gif", "tif"])
def test_a_mask_needs_the_first_frame_alone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"half.{suffix}"
    frames = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 30, 3), np.uint8)) for i in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    mask = load_mask(path, "red")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    assert torch.equal(load_mask(path, "red"), mask)


def test_what_is_no_picture_is_said(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_text("no")
    with pytest.raises(ModelFileError, match="cannot be read as a picture"):
        load_picture(tmp_path / "no.png")


@pytest.mark.parametrize("after", [False, True])
def test_a_text_too_long_for_pillow_leaves_the_picture(tmp_path: Path, after: bool) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", "x" * 3_000_000, zip=True)
    Image.new("RGB", (6, 4), "red").save(tmp_path / "long.png", pnginfo=texts)
    data = (tmp_path / "long.png").read_bytes()
    if after:  # the pixels
        start, end = data.index(b"zTXt") - 4, data.index(b"IDAT") - 4
        (tmp_path / "long.png").write_bytes(data[:start] + data[end:-12] + data[start:end] + data[-12:])
    with pytest.raises(ValueError, match="MAX_TEXT_CHUNK"), Image.open(tmp_path / "long.png") as picture:
        picture.load()
    pixels, _ = load_picture(tmp_path / "long.png")
    assert torch.equal(pixels, torch.tensor([1.0, 0.0, 0.0]).expand(1, 4, 6, 3))
    assert load_mask(tmp_path / "long.png", "red").all()


def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path) -> None:
    picture = Image.new("RGB", (6, 4))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    data = bytearray((tmp_path / "turned.jpg").read_bytes())
    place = data.index(b"Exif") + 6
    data[place : place + 8] = b"\xff" * 8
    (tmp_path / "turned.jpg").write_bytes(data)
    assert load_picture(tmp_path / "turned.jpg")[0].shape == (1, 4, 6, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "tif"])
def test_half_a_picture_is_said(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"half.{suffix}"
    frames = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 30, 3), np.uint8)) for i in range(3)]
    frames[0].save(path, save_all=suffix != "jpg", append_images=frames[1:])
    whole = path.read_bytes()
    for length in (len(whole) // 20, len(whole) // 2, len(whole) * 9 // 10):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match=f"half.{suffix} cannot be read as a picture"):
            load_picture(path)
