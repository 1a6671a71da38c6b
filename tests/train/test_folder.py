# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Pictures of folders and their captions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from graphexec.train.data.faults import DataError
from graphexec.train.folder import load_pictures, load_with_captions, one_batch


def put(path: Path, color: str, size: tuple[int, int] = (4, 2), text: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")


def test_folders_are_repeated_and_captioned_as_kohya_names_them(tmp_path: Path) -> None:
    put(tmp_path / "b.png", "blue", text="blue thing\n")
    put(tmp_path / "2_sks cat/a.png", "red")
    put(tmp_path / "2_sks cat/c.png", "lime", (2, 2), "a cat")
    put(tmp_path / "0_none/d.png", "white", text="not used")
    put(tmp_path / "plain/e.png", "black", text="black thing")
    put(tmp_path / ".hidden/f.png", "white", text="not used")
    told: list[str] = []
    pictures, texts = load_with_captions(tmp_path, told.append)
    assert [message.partition(": ")[2] for message in told] == [
        "1 of 2 pictures have no caption and train as 'sks cat': a.png"
    ]
    assert texts == ["blue thing", *["sks cat", "a cat"] * 2, "black thing"]
    assert [tuple(picture.shape) for picture in pictures[:3]] == [(1, 2, 4, 3), (1, 2, 4, 3), (1, 2, 2, 3)]
    assert pictures[1][0, 0, 0].tolist() == [1.0, 0.0, 0.0]


def test_a_picture_without_caption_is_told_and_one_caption_of_all_is_needed(tmp_path: Path) -> None:
    put(tmp_path / "a.png", "red", text="red")
    put(tmp_path / "b.png", "blue")
    told: list[str] = []
    assert load_with_captions(tmp_path, told.append)[1] == ["red", ""]
    assert "b.png" in told[0]
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DataError, match="no picture has a caption"):
        load_with_captions(tmp_path, told.append)


def test_pictures_that_are_left_out_are_told(tmp_path: Path) -> None:
    put(tmp_path / "a.png", "red", text="red")
    put(tmp_path / "b.gif", "red", text="red")
    put(tmp_path / "2_cat/c.png", "blue", text="blue")
    put(tmp_path / "2_cat/more/d.png", "white", text="white")
    of_captioned: list[str] = []
    assert load_with_captions(tmp_path, of_captioned.append)[1] == ["red", "blue", "blue"]
    assert [told.rpartition("left out, ")[2] for told in of_captioned] == [
        "not of the kinds .png, .jpg, .jpeg, .webp, .bmp: b.gif",
        "pictures in folders of it: more",
    ]
    alone: list[str] = []
    assert len(load_pictures(tmp_path, alone.append)) == 1
    assert [told.rpartition(": ")[2] for told in alone] == ["b.gif", "2_cat"]


def test_a_folder_whose_number_is_a_date_is_an_error(tmp_path: Path) -> None:
    put(tmp_path / "20240131_trip/a.png", "red", text="red")
    with pytest.raises(DataError, match=r"20240131_trip: .* 20240131 times an epoch.*rename it, as to 1_trip"):
        load_with_captions(tmp_path, pytest.fail)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures"):
        load_pictures(tmp_path, pytest.fail)
    with pytest.raises(DataError, match="holds no pictures"):
        load_with_captions(tmp_path, pytest.fail)


def test_pictures_are_fitted_to_the_first(tmp_path: Path) -> None:
    put(tmp_path / "a.png", "red", (4, 2))
    put(tmp_path / "b.png", "blue", (2, 2))
    pictures = load_pictures(tmp_path, pytest.fail)
    with pytest.raises(DataError, match="a picture of 2 x 2 is not of the batch's size 4 x 2"):
        one_batch(pictures, "None")
    blue = torch.tensor([0.0, 0.0, 1.0])
    for method in ("Stretch", "Crop"):
        batch = one_batch(pictures, method)
        assert batch.shape == (2, 2, 4, 3)
        assert torch.allclose(batch[1], blue, atol=1e-6)
    padded = one_batch(pictures, "Pad")[1]
    assert padded[:, [0, 3]].abs().max() == 0
    assert torch.allclose(padded[:, 1:3], blue)
    assert one_batch(pictures, "Stretch", 8, 6).shape == (2, 6, 8, 3)
