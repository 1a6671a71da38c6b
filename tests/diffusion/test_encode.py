# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion.tiny import write_checkpoint
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.encode import encode_prompt
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.text import PADDING
from graphexec.diffusion.tokenizer import END, START
from graphexec.diffusion.types import Clip, Family, Model, SizeHint, TextEncoder, Vae, Weighting
from graphexec.errors import ModelFileError

Recipes = tuple[Model, Clip, Vae]


def encoded(runtime: Runtime, clip: Clip, text: str) -> Tensor:
    (cond,) = encode_prompt(runtime, clip, text).conds
    return cond.embedding


def test_shapes(runtime: Runtime, recipes: Recipes) -> None:
    (cond,) = encode_prompt(runtime, recipes[1], "a tiger").conds
    assert cond.embedding.shape == (1, 77, 32)
    assert cond.pooled is not None and cond.pooled.shape == (1, 32)
    assert not cond.embedding.is_inference()


def test_a_long_prompt_is_encoded_chunk_by_chunk(runtime: Runtime, recipes: Recipes) -> None:
    words = [f"{'cat ' * 75}", "dog " * 10]
    long = encoded(runtime, recipes[1], "".join(words))
    assert long.shape == (1, 154, 32)
    parts = [encoded(runtime, recipes[1], part) for part in words]
    torch.testing.assert_close(long, torch.cat(parts, dim=1))


def test_a_weight_moves_the_embedding_away_from_that_of_nothing(runtime: Runtime, recipes: Recipes) -> None:
    plain, empty = encoded(runtime, recipes[1], "tiger"), encoded(runtime, recipes[1], "")
    weighted = encoded(runtime, recipes[1], "(tiger:1.5)")
    torch.testing.assert_close(weighted[:, 1], empty[:, 1] + 1.5 * (plain[:, 1] - empty[:, 1]))
    assert torch.equal(weighted[:, 0], plain[:, 0])
    torch.testing.assert_close(encoded(runtime, recipes[1], "(tiger:0)")[:, 1], empty[:, 1])


def test_weight_one_changes_nothing(runtime: Runtime, recipes: Recipes) -> None:
    assert torch.equal(encoded(runtime, recipes[1], "(tiger:1.0)"), encoded(runtime, recipes[1], "tiger"))


def test_an_earlier_layer_gives_another_embedding_and_the_same_pooled(runtime: Runtime, recipes: Recipes) -> None:
    (last,) = encode_prompt(runtime, recipes[1], "tiger").conds
    (before,) = encode_prompt(runtime, replace(recipes[1], last_layer=-2), "tiger").conds
    assert not torch.equal(last.embedding, before.embedding)
    assert last.pooled is not None and before.pooled is not None
    assert torch.equal(last.pooled, before.pooled)


FAMILIES: tuple[Family, ...] = ("sd2", "sdxl", "sdxl_refiner")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Clip]:
    folder = tmp_path_factory.mktemp("families")
    found: dict[Family, Clip] = {}
    for family in FAMILIES:
        path = write_checkpoint(folder / f"{family}.safetensors", 0, layers=3, family=family)
        found[family] = open_checkpoint(path)[1]
    return found


def hidden(runtime: Runtime, encoder: TextEncoder, ids: list[int], layer: int) -> tuple[Tensor, Tensor]:
    """The output of a layer of an encoder, normed and not."""
    with runtime.text_encoder(encoder) as network, torch.no_grad():
        x = network.embeddings(network.embeddings.token_embedding(torch.tensor([ids])))
        for block in network.encoder.layers[: len(network.encoder.layers) + layer + 1]:
            x = block(x, None)
        return network.final_layer_norm(x), x


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_takes_its_layer_and_its_norm(runtime: Runtime, clips: dict[Family, Clip], family: Family) -> None:
    clip = clips[family]
    (cond,) = encode_prompt(runtime, clip, "tiger").conds
    ids = runtime.tokenizer("tiger")
    found: list[Tensor] = []
    row: list[int] = []
    for encoder in clip.encoders:
        row = [START, *ids, END, *[PADDING[encoder.kind]] * (75 - len(ids))]
        found.append(hidden(runtime, encoder, row, -2)[0 if family == "sd2" else 1])
    torch.testing.assert_close(cond.embedding, torch.cat(found, dim=-1))
    with runtime.text_encoder(clip.encoders[-1]) as network, torch.no_grad():
        last = hidden(runtime, clip.encoders[-1], row, -1)[0][:, len(ids) + 1]
        torch.testing.assert_close(cond.pooled, network.text_projection(last))


def test_openclip_uses_gelu_and_clip_does_not(runtime: Runtime, clips: dict[Family, Clip]) -> None:
    kinds: dict[str, bool] = {}
    for encoder in clips["sdxl"].encoders:
        with runtime.text_encoder(encoder) as network:
            kinds[encoder.kind] = network.layout.quick_gelu
    assert kinds == {"clip_l": True, "clip_g": False}


def test_the_shorter_of_two_texts_is_filled_up_with_no_text(runtime: Runtime, clips: dict[Family, Clip]) -> None:
    long = "cat " * 80
    (cond,) = encode_prompt(runtime, clips["sdxl"], {"clip_l": long, "clip_g": "tiger"}, size=SizeHint()).conds
    assert cond.embedding.shape == (1, 154, 96) and cond.size == SizeHint()
    parts = [encoded(runtime, clips["sdxl"], text) for text in (long, "tiger", "")]
    assert torch.equal(cond.embedding[..., :32], parts[0][..., :32])
    torch.testing.assert_close(cond.embedding[..., 32:], torch.cat([parts[1], parts[2]], dim=1)[..., 32:])


def test_two_texts_need_two_encoders(runtime: Runtime, recipes: Recipes, clips: dict[Family, Clip]) -> None:
    with pytest.raises(ModelFileError, match="clip_h, for which there is no text"):
        encode_prompt(runtime, clips["sd2"], {"clip_l": "a", "clip_g": "b"})


def test_embeddings_stand_for_words_and_say_where_they_do_not_fit(
    runtime: Runtime, clips: dict[Family, Clip], tmp_path: Path
) -> None:
    clip, said = clips["sdxl"], list[str]()
    with runtime.text_encoder(clip.encoders[0]) as network:
        words = network.embeddings.token_embedding(torch.tensor(runtime.tokenizer("tiger lion")))
    save_file({"emb_params": words.contiguous()}, tmp_path / "e.safetensors")
    files = {"e.safetensors": tmp_path / "e.safetensors"}
    (cond,) = encode_prompt(runtime, clip, "a (embedding:e:1.2) (cat:1.5)", embeddings=files, warn=said.append).conds
    named, without = (encoded(runtime, clip, text) for text in ("a (tiger lion:1.2) (cat:1.5)", "a (cat:1.5)"))
    torch.testing.assert_close(cond.embedding[..., :32], named[..., :32])
    torch.testing.assert_close(cond.embedding[..., 32:], without[..., 32:])  # weights move up with their words
    assert said == ["embedding 'e.safetensors' is 32 wide, but clip_g takes 64; it is left out there"]
    assert torch.equal(encoded(runtime, clip, "embedding:e cat"), encoded(runtime, clip, "cat"))  # no such file here


def test_a_layer_that_is_not_there_is_told_of(runtime: Runtime, recipes: Recipes) -> None:
    said: list[str] = []
    encode_prompt(runtime, replace(recipes[1], last_layer=-9), "tiger", warn=said.append)
    assert said == ["clip_l has 2 layers; its last one is taken, not number -9"]


@pytest.mark.parametrize("weighting", ["a1111", "compel"])
def test_other_weightings_agree_where_no_weight_is_given(
    runtime: Runtime, recipes: Recipes, weighting: Weighting
) -> None:
    clip = replace(recipes[1], weighting=weighting)
    assert torch.equal(encoded(runtime, clip, "a tiger"), encoded(runtime, recipes[1], "a tiger"))
    one, other = (encoded(runtime, each, "a (tiger:0.5)") for each in (clip, recipes[1]))
    assert one.isfinite().all() and not torch.allclose(one, other)
