# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from graphexec.diffusion.text import Token
from graphexec.diffusion.types import Weighting
from graphexec.diffusion.weighting import WEIGHTINGS, Chunks, weigh

EMPTY = [[Token(0, 1.0), Token(9, 1.0), Token(9, 1.0)]]


def encode(chunks: Chunks, keep: Tensor | None = None) -> Tensor:
    """A vector of two channels for each token: its own number, and the sum of the numbers that are not hidden."""
    numbers = torch.tensor([[float(t.value) for t in chunk] for chunk in chunks])  # type: ignore[arg-type]
    seen = numbers if keep is None else numbers * keep
    return torch.stack([numbers, seen.sum(1, keepdim=True).expand_as(numbers)], dim=-1)


def chunk(*weights: float) -> Chunks:
    return [[Token(i + 1, weight, i + 1) for i, weight in enumerate(weights)]]


def weighed(style: Weighting, *weights: float) -> Tensor:
    chunks = chunk(*weights)
    return weigh(style, chunks, encode(chunks), EMPTY, encode)


@pytest.mark.parametrize("style", list(WEIGHTINGS))
def test_weight_one_changes_nothing(style: Weighting) -> None:
    assert torch.equal(weighed(style, 1.0, 1.0, 1.0), encode(chunk(1.0, 1.0, 1.0)))


def test_comfy_moves_away_from_the_empty_prompt() -> None:
    z, empty = encode(chunk(1.0, 2.0, 1.0)), encode(EMPTY)
    out = weighed("comfy", 1.0, 2.0, 0.0)
    assert torch.equal(out[:, 0], z[:, 0])
    assert torch.equal(out[:, 1], empty[:, 1] + 2 * (z[:, 1] - empty[:, 1]))
    assert torch.equal(out[:, 2], empty[:, 2])


def test_a1111_multiplies_and_keeps_the_mean() -> None:
    z = encode(chunk(1.0, 1.0, 1.0))
    out = weighed("a1111", 1.0, 2.0, 0.5)
    assert out.mean().item() == pytest.approx(z.mean().item())
    torch.testing.assert_close(out[:, 1] / out[:, 0], 2 * z[:, 1] / z[:, 0])


def test_compel_raises_as_comfy_does() -> None:
    assert torch.equal(weighed("compel", 1.0, 1.5, 2.0), weighed("comfy", 1.0, 1.5, 2.0))


@pytest.mark.parametrize("weight", [0.25, 0.5, 0.9])
def test_compel_lowers_by_drawing_towards_the_prompt_without_the_piece(weight: float) -> None:
    share = math.tan((1 - weight) * math.pi / 2)
    whole = weighed("comfy", 1.0, weight, 1.0)
    hidden, empty = encode(chunk(1.0, weight, 1.0), torch.tensor([[True, False, True]])), encode(EMPTY)
    hidden[:, 1] = empty[:, 1] + weight * (hidden[:, 1] - empty[:, 1])
    torch.testing.assert_close(weighed("compel", 1.0, weight, 1.0), (whole + share * hidden) / (1 + share))


def test_compel_at_zero_is_the_prompt_without_the_piece() -> None:
    hidden = encode(chunk(1.0, 0.0, 1.0), torch.tensor([[True, False, True]]))
    out = weighed("compel", 1.0, 0.0, 1.0)
    torch.testing.assert_close(out[:, ::2], hidden[:, ::2], atol=1e-3, rtol=1e-3)
    assert weighed("compel", 1.0, -1.0, 1.0).isfinite().all()
