# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from graphexec.diffusion.sampling.noise import SeededNoise, initial_noise

RECORDED = load_file(Path(__file__).parents[2] / "data/parity/noise.safetensors")


@pytest.mark.parametrize("key", [key for key in RECORDED if key.startswith("seed")])
def test_recorded_noise(key: str) -> None:
    seed, _, what = key.partition("/")
    index = [int(i) for i in what.removeprefix("batch_index").split("_")] if "batch_index" in what else None
    assert torch.equal(initial_noise(torch.zeros_like(RECORDED[key]), int(seed[4:]), index), RECORDED[key])


def test_recorded_draws_on_the_way() -> None:
    source = SeededNoise(torch.zeros(1, 4, 8, 8), 42).independent()
    for call in (0, 1):
        assert torch.equal(source(2.0, 1.0), RECORDED[f"default_noise_sampler/seed42/call{call}"])


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_an_item_of_a_batch_draws_alone_what_it_draws_in_company(seed: int, index: list[int]) -> None:
    one = torch.zeros(1, 4, 2, 3)
    together = initial_noise(torch.zeros(len(index), 4, 2, 3), seed, index)
    for item, i in zip(together, index, strict=True):
        assert torch.equal(item, initial_noise(one, seed, [i])[0])


def test_a_seed_beyond_64_bits_wraps() -> None:
    assert torch.equal(initial_noise(torch.zeros(1, 4, 2, 2), 2**64), initial_noise(torch.zeros(1, 4, 2, 2), 0))


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    initial_noise(torch.zeros(1, 4, 2, 2), 1)
    SeededNoise(torch.zeros(1), 1).independent()(1.0, 0.5)
    assert torch.equal(torch.get_rng_state(), before)
