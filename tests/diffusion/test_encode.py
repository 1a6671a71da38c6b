# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from graphexec.diffusion.encode import encode_prompt
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import Clip, Model, Vae

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
