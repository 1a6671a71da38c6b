# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from diffusion.tiny import write_checkpoint

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.encode import encode_prompt
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.inputs import size_vector
from graphexec.diffusion.types import Clip, Cond, SizeHint
from graphexec.train.config import ModelSource
from graphexec.train.data.cache import FileTensors, MemoryTensors, TensorStore
from graphexec.train.models import BaseModel
from graphexec.train.texts import Captions, Embedded, KeptCaptions, vector_of

LONG = ", ".join(f"a thing of kind {i}" for i in range(14))
"""A caption of two chunks."""


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, Captions]:
    path = tmp_path_factory.mktemp("texts") / "model.safetensors"
    write_checkpoint(path, family=request.param)
    return open_checkpoint(path)[1], captions_of(path)


def captions_of(path: Path, warnings: list[str] | None = None, length: int = 150) -> Captions:
    source = ModelSource(path, max_token_length=length)
    base = BaseModel.load(source, "fp32", torch.device("cpu"))
    return Captions(base, ([] if warnings is None else warnings).append)


def prompt(clip: Clip, text: str) -> Cond:
    return encode_prompt(Runtime("cpu"), clip, text).conds[0]


def test_captions_are_encoded_as_prompts_are(model: tuple[Clip, Captions]) -> None:
    clip, captions = model
    found = captions(["a red square", LONG])
    short, long, empty = prompt(clip, "a red square"), prompt(clip, LONG), prompt(clip, "")
    assert long.embedding.shape[1] == 154
    expected = torch.cat([torch.cat([short.embedding, empty.embedding], dim=1), long.embedding])
    torch.testing.assert_close(found.context, expected, atol=2e-5, rtol=1e-5)
    assert short.pooled is not None
    assert long.pooled is not None
    torch.testing.assert_close(found.pooled, torch.cat([short.pooled, long.pooled]), atol=2e-5, rtol=1e-5)


def test_parentheses_are_text(model: tuple[Clip, Captions]) -> None:
    clip, captions = model
    torch.testing.assert_close(
        captions(["a (red:1.5) square"]).context, prompt(clip, r"a \(red:1.5\) square").embedding, atol=2e-5, rtol=1e-5
    )


def test_gradients_come_to_every_encoder(model: tuple[Clip, Captions]) -> None:
    _, captions = model
    weights = [encoder.get_parameter("encoder.layers.0.mlp.fc1.weight") for encoder in captions.base.encoders]
    for weight in weights:
        weight.requires_grad_(True)
    captions(["a red square"]).context.square().sum().backward()
    for weight in weights:
        assert weight.grad is not None
        assert float(weight.grad.abs().max()) > 0
        weight.requires_grad_(False)


class Deaf(Captions):
    """Has nothing to say."""

    def __call__(self, captions: Sequence[str]) -> Embedded:
        raise AssertionError(captions)


@pytest.mark.parametrize("on_disk", [False, True])
def test_kept_captions_are_encoded_once(model: tuple[Clip, Captions], on_disk: bool, tmp_path: Path) -> None:
    _, captions = model
    store: TensorStore = FileTensors(tmp_path) if on_disk else MemoryTensors()
    kept = KeptCaptions(captions, store, "model")
    fresh, first = captions(["a cat", LONG]), kept(["a cat", LONG])
    torch.testing.assert_close(first.context, fresh.context, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(first.pooled, fresh.pooled, atol=2e-5, rtol=1e-5)
    again = KeptCaptions(captions, store, "model")
    again.encode = Deaf(captions.base, print)
    assert torch.equal(again(["a cat", LONG]).context, first.context)


def test_what_is_too_long_is_cut_off_and_told_once(tmp_path: Path) -> None:
    warnings: list[str] = []
    captions = captions_of(write_checkpoint(tmp_path / "model.safetensors"), warnings, 75)
    assert captions([LONG, LONG]).context.shape[1] == 77
    assert len(warnings) == 1
    assert "tokens is cut off after 75 (max_token_length)" in warnings[0]


def test_captions_that_are_cut_off_are_told_ever_more_seldom(tmp_path: Path) -> None:
    warnings: list[str] = []
    captions = captions_of(write_checkpoint(tmp_path / "model.safetensors"), warnings, 75)
    for i in range(15):
        captions([f"{i}, {LONG}", LONG])
    assert len(warnings) == 2
    assert warnings[1].endswith("; so were 9 before it")


def test_sizes_are_told_as_in_sampling() -> None:
    pooled = torch.randn(1, 64)
    hint = SizeHint(640, 480, 8, 16, 512, 384)
    expected = size_vector(
        Cond(torch.zeros(1, 77, 96), pooled, size=hint), "sdxl", torch.zeros(1, 4, 8, 8), negative=False
    )
    found = vector_of(pooled, torch.tensor([[480, 640, 16, 8, 384, 512]]))
    assert found.shape == (1, 64 + 6 * 256)
    torch.testing.assert_close(found, expected)
