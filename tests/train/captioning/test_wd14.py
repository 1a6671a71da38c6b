# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The WD14 taggers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from train.captioning.models import ROWS, write_table, write_tagger

from graphexec.errors import ModelFileError
from graphexec.train.captioning import wd14
from graphexec.train.captioning.pictures import Picture
from graphexec.train.captioning.tags import TagRules
from graphexec.train.captioning.wd14 import Wd14, square
from graphexec.train.captioning.weights import Weights

COLORS = [Picture(color, Image.new("RGB", (8, 8), color)) for color in ("red", "lime", "blue")]
EXPECTED = ["1girl, (o)_(o)", "o_o, saber", "long_hair, reimu_(touhou)"]


def tagger(folder: Path, rules: TagRules | None = None) -> Wd14:
    return Wd14(Weights("x/y", folder), rules or TagRules(), device="cpu")


@pytest.mark.parametrize("batch", ["N", 1, 2, 4])
def test_pictures_get_the_tags_of_their_colors_whatever_the_batch(tmp_path: Path, batch: int | str) -> None:
    assert tagger(write_tagger(tmp_path, batch=batch)).captions(COLORS) == EXPECTED


def test_pixels_are_blue_first_up_to_255_and_padded_with_white() -> None:
    pixels = square(Image.new("RGB", (8, 4), (10, 20, 30)), 8)
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.float32)
    assert (pixels[2:6] == [30, 20, 10]).all()
    assert (pixels[:2] == 255).all() and (pixels[6:] == 255).all()
    assert (square(Image.new("RGB", (64, 64), (10, 20, 30)), 8) == [30, 20, 10]).all()
    assert (square(Image.new("RGB", (2, 2), (10, 20, 30)), 8) == [30, 20, 10]).all()


def test_a_table_of_another_model_is_refused(tmp_path: Path) -> None:
    write_tagger(tmp_path)
    write_table(tmp_path, ROWS[:-1])
    with pytest.raises(ModelFileError, match=r"selected_tags.csv has 7 tags; take both"):
        tagger(tmp_path)


def test_what_is_no_tagger_is_refused(tmp_path: Path) -> None:
    write_tagger(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="cannot be read as an ONNX model"):
        tagger(tmp_path)
    with pytest.raises(ModelFileError, match="no GPU here"):
        Wd14(Weights("x/y", tmp_path), TagRules(), device="cuda")


@pytest.mark.parametrize(("device", "number"), [("cuda", "0"), ("cuda:1", "1"), ("auto", "0")])
def test_the_gpu_is_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, number: str
) -> None:
    asked: list[Any] = []
    real = wd14.ort.InferenceSession

    def session(file: str, providers: list[Any]) -> Any:
        asked.extend(providers)
        return real(file, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(wd14.ort, "InferenceSession", session)
    monkeypatch.setattr(wd14.ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    Wd14(Weights("x/y", write_tagger(tmp_path)), TagRules(), device=device)
    assert asked == [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]
