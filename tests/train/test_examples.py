# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Latents and prompts in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import Cond, Conditioning, Latent, Model
from graphexec.train.examples import Example, Examples, pair_examples
from graphexec.train.faults import TrainingError

CPU = torch.device("cpu")
MODEL = Model(WeightsFile(Path("m"), 0, 0, ()), "sd1", "")


def example(name: str, height: int = 2, tokens: int = 3) -> Example:
    return Example(name, torch.zeros(1, 4, height, 2), torch.zeros(1, tokens, 5), None)


def prompts(*tokens: int) -> list[Conditioning]:
    return [Conditioning((Cond(torch.full((1, count, 5), float(count))),)) for count in tokens]


@given(st.lists(st.sampled_from([2, 4]), min_size=1, max_size=9), st.integers(1, 4), st.integers(0, 3))
def test_an_epoch_has_each_example_once_in_batches_of_one_size(heights: Sequence[int], size: int, epoch: int) -> None:
    examples = Examples([example(str(n), height) for n, height in enumerate(heights)], size, 7, CPU)
    batches = list(examples.epoch(epoch))
    assert Counter(name for batch in batches for name in batch.names) == Counter(map(str, range(len(heights))))
    assert all(len(batch.names) == len(batch.latents) == len(batch.context) <= size for batch in batches)
    assert [batch.names for batch in examples.epoch(epoch, 1)] == [batch.names for batch in batches[1:]]


def test_orders_differ_by_epoch_and_seed() -> None:
    def order(seed: int, epoch: int) -> list[tuple[str, ...]]:
        return [batch.names for batch in Examples([example(str(n)) for n in range(9)], 2, seed, CPU).epoch(epoch)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_prompts_go_to_their_pictures_in_order() -> None:
    latents = [Latent(torch.ones(2, 4, 2, 2)), Latent(torch.ones(1, 4, 4, 2))]
    found = pair_examples(MODEL, latents, prompts(1, 2, 3), warn=pytest.fail)
    assert [each.context.shape[1] for each in found] == [1, 2, 3]
    assert [each.latent.shape[2] for each in found] == [2, 2, 4]
    assert torch.allclose(found[0].latent, torch.tensor(0.18215))
    joined = Conditioning(tuple(cond for each in prompts(1, 2, 3) for cond in each.conds))
    assert [each.context.shape[1] for each in pair_examples(MODEL, latents, [joined], warn=pytest.fail)] == [1, 2, 3]


def test_one_prompt_is_everybodys_and_other_numbers_are_refused() -> None:
    latents = [Latent(torch.ones(3, 4, 2, 2))]
    assert len(pair_examples(MODEL, latents, prompts(7), warn=pytest.fail)) == 3
    with pytest.raises(TrainingError, match="3 pictures and 2 prompts"):
        pair_examples(MODEL, latents, prompts(1, 2), warn=pytest.fail)


def test_what_counts_for_nothing_is_told_and_nan_refused() -> None:
    told: list[str] = []
    timed = [each.timed(0.0, 0.5) for each in prompts(1)]
    pair_examples(MODEL, [Latent(torch.ones(1, 4, 2, 2))], timed, warn=told.append)
    assert len(told) == 1 and "count for nothing" in told[0]
    with pytest.raises(TrainingError, match="picture 2 holds NaN"):
        pair_examples(
            MODEL, [Latent(torch.tensor([1.0, torch.nan])[:, None, None, None].expand(2, 4, 2, 2))], prompts(1),
            warn=pytest.fail,
        )  # fmt: skip
