"""Latents cut, turned, joined, resized and laid over each other."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.latents.transform import (
    composite,
    concat,
    crop,
    cut,
    flip,
    rotate,
    upscale_by,
    upscale_to,
)
from graphexec.diffusion.types import Latent

GRID = Latent(torch.arange(2 * 4 * 12 * 10, dtype=torch.float32).view(2, 4, 12, 10))


def same(a: Latent, b: Latent) -> bool:
    return torch.equal(a.samples, b.samples)


def test_turning_and_flipping() -> None:
    assert same(rotate(GRID, "none"), GRID)
    assert same(rotate(rotate(GRID, "90 degrees"), "270 degrees"), GRID)
    assert same(rotate(GRID, "180 degrees"), flip(flip(GRID, "x-axis: vertically"), "y-axis: horizontally"))
    corner = rotate(GRID, "90 degrees").samples[0, 0, 0, -1]
    assert corner == GRID.samples[0, 0, 0, 0]


def test_crop_ends_at_the_edges() -> None:
    assert torch.equal(crop(GRID, 64, 64, 16, 8).samples, GRID.samples[..., 1:9, 2:10])
    assert torch.equal(crop(GRID, 64, 512, 800, 800).samples, GRID.samples[..., 4:, 2:])


def test_crop_of_what_is_smaller_than_the_smallest() -> None:
    small = Latent(GRID.samples[..., :5, :5])
    assert same(crop(small, 64, 64, 800, 800), small)


@given(st.integers(-15, 15), st.integers(1, 15))
def test_cut_counts_as_python_does_and_keeps_one_at_least(index: int, amount: int) -> None:
    columns = cut(GRID, "x", index, amount).samples
    start = min(index, 9) if index >= 0 else max(index + 10, 0)
    assert torch.equal(columns, GRID.samples[..., start : start + amount])


@pytest.mark.parametrize("dim", ["x", "y", "t"])
def test_what_was_cut_is_joined_again(dim: Literal["x", "y", "t"]) -> None:
    whole = concat(cut(GRID, dim, 0, 3), cut(GRID, dim, 3, 99), dim)
    assert same(whole, GRID)
    minus: Literal["-x", "-y", "-t"] = f"-{dim}"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    assert same(concat(cut(GRID, dim, 3, 99), cut(GRID, dim, 0, 3), minus), GRID)


def test_joining_needs_sides_of_one_length() -> None:
    assert concat(GRID, Latent(GRID.samples[:1]), "x").samples.shape == (2, 4, 12, 20)
    with pytest.raises(LatentError, match="along x"):
        concat(GRID, Latent(GRID.samples[..., 1:, :]), "x")


class TestUpscale:
    @pytest.mark.parametrize(
        ("width", "height", "shape"),
        [(0, 0, (12, 10)), (0, 192, (24, 20)), (160, 0, (24, 20)), (8, 8, (8, 8)), (0, 8, (8, 8)), (72, 96, (12, 9))],
    )
    def test_sides(self, width: int, height: int, shape: tuple[int, int]) -> None:
        assert upscale_to(GRID, "nearest-exact", width, height, "disabled").samples.shape[-2:] == shape

    def test_factor(self) -> None:
        assert upscale_by(GRID, "area", 1.5).samples.shape[-2:] == (18, 15)
        assert upscale_by(GRID, "area", 0.01).samples.shape[-2:] == (1, 1)


class TestComposite:
    OVER = Latent(torch.full((1, 4, 4, 4), -1.0))

    def test_outside_nothing_changes(self) -> None:
        assert same(composite(GRID, self.OVER, 800, 0, 0), GRID)
        assert same(composite(GRID, self.OVER, 0, 800, 16), GRID)

    def test_it_covers_what_it_lies_over(self) -> None:
        samples = composite(GRID, self.OVER, 16, 64, 0).samples
        assert bool((samples[:, :, 8:12, 2:6] == -1).all())
        assert torch.equal(samples[:, :, :8], GRID.samples[:, :, :8])

    def test_inner_edges_fade(self) -> None:
        under, over = Latent(torch.zeros(1, 4, 8, 8)), Latent(torch.ones(1, 4, 4, 4))
        samples = composite(under, over, 0, 16, 16).samples[0, 0, 2:6, :4]
        assert samples[:, 0].tolist() == [0.5, 1.0, 1.0, 0.5]
        assert samples[1].tolist() == [1.0, 1.0, 1.0, 0.5]

    def test_a_fade_wider_than_the_latents(self) -> None:
        under, over = Latent(torch.zeros(1, 4, 9, 9)), Latent(torch.ones(1, 4, 2, 2))
        samples = composite(under, over, 16, 16, 64).samples
        assert float(samples.max()) == pytest.approx((1 / 8 * 2 / 8) ** 2)

    def test_other_channels_are_an_error(self) -> None:
        with pytest.raises(LatentError, match="channels"):
            composite(GRID, Latent(torch.ones(1, 16, 4, 4)), 0, 0, 0)
