"""Sums and mixtures of latents."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.latents.arithmetic import add, blend, interpolate, multiply, subtract
from graphexec.diffusion.types import Latent


def latent(batch: int = 2, height: int = 3, width: int = 5, channels: int = 4, seed: int = 0) -> Latent:
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(batch, channels, height, width, generator=generator)
    return Latent(samples, torch.ones(1, 1, 8, 8), tuple(range(7, 7 + batch)))


def test_what_is_added_can_be_taken_off() -> None:
    a, b = latent(seed=1), latent(seed=2)
    assert torch.allclose(subtract(add(a, b), b).samples, a.samples, atol=1e-6)


def test_mask_and_index_are_those_of_the_first() -> None:
    a, b = latent(), Latent(torch.ones(1, 4, 2, 2))
    for result in (add(a, b), multiply(a, 2.0), interpolate(a, b, 0.5), blend(a, b, 0.5)):
        assert result.noise_mask is a.noise_mask
        assert result.batch_index == a.batch_index
        assert result.samples.shape == a.samples.shape


def test_the_second_is_repeated_or_cut() -> None:
    a, short, long = latent(3), latent(2, seed=1), latent(5, seed=2)
    assert torch.equal(add(a, short).samples[2], a.samples[2] + short.samples[0])
    assert torch.equal(add(a, long).samples[2], a.samples[2] + long.samples[2])


def test_interpolating_keeps_the_lengths_between() -> None:
    a, b = latent(seed=1), latent(seed=2)
    assert torch.allclose(interpolate(a, b, 1.0).samples, a.samples, atol=1e-6)
    assert torch.allclose(interpolate(a, b, 0.0).samples, b.samples, atol=1e-6)
    half = interpolate(a, b, 0.5).samples.norm(dim=1)
    assert torch.allclose(half, (a.samples.norm(dim=1) + b.samples.norm(dim=1)) / 2, atol=1e-5)


def test_cells_of_zeros_have_no_direction() -> None:
    zeros = Latent(torch.zeros(1, 4, 2, 2))
    assert torch.equal(interpolate(zeros, zeros, 0.3).samples, zeros.samples)


def test_blending_batches_of_one_and_several() -> None:
    assert blend(latent(1), latent(3), 0.5).samples.shape[0] == 3
    with pytest.raises(LatentError, match="2 and 3"):
        blend(latent(2), latent(3), 0.5)


@pytest.mark.parametrize("operation", [add, subtract, partial(blend, factor=0.5)])
def test_other_channels_are_an_error(operation: Callable[[Latent, Latent], Latent]) -> None:
    with pytest.raises(LatentError, match="channels"):
        operation(latent(), latent(channels=16))
