# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""BLIP."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load, save
from train.captioning.models import write_blip

from graphexec.diffusion.faults import MissingDevice
from graphexec.errors import ModelFileError
from graphexec.train.captioning.blip import Blip, Decoding, Drawn
from graphexec.train.captioning.errors import CaptionError
from graphexec.train.captioning.pictures import Picture
from graphexec.train.captioning.weights import Weights

COLORS = [Picture(color, Image.new("RGB", (20, 30), color)) for color in ("red", "lime", "blue")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blip(tmp_path_factory.mktemp("blip"))


def captions(folder: Path, decoding: Decoding, pictures: list[Picture] = COLORS) -> list[str]:
    return Blip(Weights("x/y", folder), decoding, "cpu").captions(pictures)


def test_what_is_sampled_depends_on_seed_and_name_alone(folder: Path) -> None:
    decoding = Decoding(max_length=12)
    together = captions(folder, decoding)
    torch.manual_seed(123)
    assert [captions(folder, decoding, [picture])[0] for picture in reversed(COLORS)] == together[::-1]
    assert captions(folder, Decoding(max_length=12, seed=1)) != together
    assert len(set(together)) == 3
    assert not any("a picture of" in caption for caption in together)


def test_beams_need_no_chance(folder: Path) -> None:
    beams = [captions(folder, Decoding(beam_search=True, num_beams=3, max_length=9, seed=seed)) for seed in (1, 2)]
    assert beams[0] == beams[1]


def test_lengths_are_kept(folder: Path) -> None:
    words = [len(text.split()) for text in captions(folder, Decoding(min_length=9, max_length=9))]
    assert words and max(words) <= 5


def test_draws_follow_the_distribution() -> None:
    wanted = torch.tensor([0.6, 0.3, 0.1, 0.0])
    drawn = Drawn(7, ["a", "b"])
    scores = wanted.log().repeat(2, 1)
    draws = torch.stack([drawn(scores, scores).argmax(1) for _ in range(2000)])
    assert (draws[:, 0] != draws[:, 1]).any()
    assert torch.allclose(torch.bincount(draws.flatten(), minlength=4) / draws.numel(), wanted, atol=0.03)


def test_what_is_no_blip_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "vocab.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelFileError, match="does not hold a BLIP model"):
        captions(tmp_path, Decoding())


def test_weights_that_are_not_whole_are_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    whole = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match=r"does not hold a BLIP model .*header"):
        captions(tmp_path, Decoding())
    tensors = load(whole)
    (name,) = (name for name in tensors if name.endswith("text_decoder.bert.encoder.layer.0.output.dense.weight"))
    del tensors[name]
    (tmp_path / "model.safetensors").write_bytes(save(tensors, {"format": "pt"}))
    with pytest.raises(ModelFileError, match=rf"model\.safetensors lacks {name}$"):
        captions(tmp_path, Decoding())


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        (Decoding(min_length=1, max_length=4), "max_length 4: it must be from 5"),
        (Decoding(max_length=65), "to 64 for this model"),
        (Decoding(min_length=12, max_length=11), "min_length 12 is above max_length 11"),
    ],
)
def test_lengths_that_cannot_be_kept_are_refused(folder: Path, decoding: Decoding, message: str) -> None:
    with pytest.raises(CaptionError, match=message):
        captions(folder, decoding)


def test_a_device_that_is_not_here_is_refused(folder: Path) -> None:
    with pytest.raises(MissingDevice, match="there is no device cuda:99 here"):
        Blip(Weights("x/y", folder), Decoding(max_length=12), "cuda:99")
