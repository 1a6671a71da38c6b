# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graphexec.diffusion.codecs import CODECS, Codec, StaleValue
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import Clip, Cond, Conditioning, Latent, LoraPatch, Model, TextEncoder, Vae

BY_NAME = {codec.type_name: codec for codec in CODECS}


def codec_of(value: Any) -> Codec:
    return BY_NAME[f"{type(value).__module__}.{type(value).__qualname__}"]


def again(value: Any) -> Any:
    """The value written and read, its parts too."""
    if isinstance(value, tuple):
        return tuple(again(item) for item in value)  # pyright: ignore[reportUnknownVariableType]
    if value is None or isinstance(value, (int, float, str, Path)):
        return value
    codec = codec_of(value)
    tree, blobs = codec.dump(value)
    fields = tree and {name: again(field) for name, field in tree.items()}
    return codec.load(fields, [memoryview(bytearray(blob)) for blob in blobs])


TENSORS = [
    torch.randn(2, 3),
    torch.randn(2, 3).bfloat16(),
    torch.randn(3).half(),
    torch.tensor([1, -5]),
    torch.tensor(True),
    torch.zeros(0, 4),
    torch.tensor([torch.nan, torch.inf, -0.0]),
    torch.randn(4, 6).t()[1:3, ::2],
]


@pytest.mark.parametrize("tensor", TENSORS, ids=lambda tensor: f"{tensor.dtype} {tuple(tensor.shape)}")
def test_tensors_come_back_bit_for_bit(tensor: Tensor) -> None:
    back = again(tensor)
    assert back.dtype == tensor.dtype
    assert back.shape == tensor.shape
    assert torch.equal(back.contiguous().view(-1).view(torch.uint8), tensor.contiguous().view(-1).view(torch.uint8))


def test_a_tensor_that_came_back_owns_its_memory() -> None:
    (blob,) = BY_NAME["torch.Tensor"].dump(torch.zeros(3))[1]
    buffer = bytearray(blob)
    back = BY_NAME["torch.Tensor"].load(None, [memoryview(buffer)])
    buffer[-4:] = b"\xff" * 4
    back += 1
    assert back.tolist() == [1, 1, 1]


@pytest.mark.parametrize("blob", [b"", b"nonsense that is no tensor", b"\x00" * 8])
def test_a_blob_that_is_no_tensor_is_a_value_error(blob: bytes) -> None:
    with pytest.raises(ValueError, match="not a tensor"):
        BY_NAME["torch.Tensor"].load(None, [memoryview(blob)])


@pytest.fixture
def file(tmp_path: Path) -> WeightsFile:
    (tmp_path / "x").write_bytes(b"1")
    return WeightsFile.of(tmp_path / "x")


def test_recipes_come_back_equal(file: WeightsFile) -> None:
    model = Model(file, "sd1", "m.", (LoraPatch(file, 0.5), LoraPatch(file, 1.0)))
    for recipe in (model, Clip((TextEncoder("clip_l", file, "c."),), "sd1", (), -2), Vae(file, "")):
        assert again(recipe) == recipe


def test_latents_and_conditioning_come_back(file: WeightsFile) -> None:
    latent = again(Latent(torch.ones(2, 4, 1, 1), None, (3, 1)))
    assert (latent.samples.tolist(), latent.noise_mask, latent.batch_index) == (
        torch.ones(2, 4, 1, 1).tolist(),
        None,
        (3, 1),
    )
    back = again(Conditioning((Cond(torch.ones(1, 2, 3), torch.zeros(1, 3)), Cond(torch.zeros(1, 2, 3)))))
    assert back.conds[0].embedding.tolist() == torch.ones(1, 2, 3).tolist()
    assert back.conds[1].pooled is None


def test_a_recipe_of_a_file_that_changed_is_stale(file: WeightsFile) -> None:
    codec = codec_of(file)
    tree, blobs = codec.dump(file)
    os.utime(file.path, ns=(1, 1))
    with pytest.raises(StaleValue, match="changed or removed"):
        codec.load(tree, list(map(memoryview, blobs)))
