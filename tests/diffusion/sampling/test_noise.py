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


@pytest.mark.parametrize("key", [key for key in RECORDED if key.startswith("brownian/")])
def test_recorded_increments(key: str) -> None:
    _, sigma, after = key.split("/")[2].split("_")
    brownian = SeededNoise(torch.zeros(1, 4, 8, 8), 42).brownian([14.6146, 0.0292, 0.0])
    assert torch.equal(brownian(float(sigma), float(after)), RECORDED[key])


@given(st.integers(0, 2**64 - 1), st.floats(0.1, 0.9))
def test_a_finer_step_sees_the_same_noise(seed: int, part: float) -> None:
    """Increments add up, whichever way they are asked for; going up instead of down changes their sign."""
    path = SeededNoise(torch.zeros(1, 1, 2, 2), seed).brownian([10.0, 1.0, 0.0])
    middle = 10 - 9 * part
    whole = path(10.0, 1.0) * 3
    parts = path(10.0, middle) * (10 - middle) ** 0.5 + path(middle, 1.0) * (middle - 1) ** 0.5
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)
    assert torch.equal(path(1.0, 10.0), -path(10.0, 1.0))


def test_one_level_has_a_path_too() -> None:
    SeededNoise(torch.zeros(1, 1, 2, 2), 0).brownian([5.0, 0.0])
