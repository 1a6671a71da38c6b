# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.compositing import join_alpha, paste_picture
from graphexec.diffusion.imaging.masks import channel_mask, color_mask, crop_mask, feather, grow, mask_picture
from graphexec.diffusion.latents.batches import with_noise_mask
from graphexec.diffusion.types import Latent

DOT = torch.zeros(7, 9)
DOT[3, 4] = 1


class TestGrow:
    def test_a_cross_makes_a_diamond_and_a_square_a_square(self) -> None:
        rows, columns = (torch.arange(n) - m for n, m in ((7, 3), (9, 4)))
        away = rows.abs()[:, None] + columns.abs()
        assert torch.equal(grow(DOT, 2, tapered=True)[0], (away <= 2).float())
        square = torch.maximum(rows.abs()[:, None].expand_as(away), columns.abs().expand_as(away))
        assert torch.equal(grow(DOT, 2, tapered=False)[0], (square <= 2).float())

    @given(st.integers(0, 12), st.booleans())
    def test_to_shrink_is_to_grow_what_is_left_out(self, cells: int, tapered: bool) -> None:
        mask = torch.rand(2, 5, 6)
        assert torch.allclose(grow(mask, -cells, tapered), 1 - grow(1 - mask, cells, tapered), atol=1e-6)

    @pytest.mark.parametrize("tapered", [True, False])
    def test_growing_further_than_the_mask_fills_it(self, tapered: bool) -> None:
        assert (grow(DOT, 16_384, tapered) == 1).all()
        assert (grow(1 - DOT, -16_384, tapered) == 0).all()


def test_feathers_start_where_comfyui_starts_them() -> None:
    row = feather(torch.ones(1, 1, 6), 2, 0, 3, 0)[0, 0]
    assert torch.allclose(row, torch.tensor([0.5 / 3, 1, 1, 1, 1, 2 / 3]))


def test_inputs_stay_as_they_are() -> None:
    mask = torch.ones(1, 4, 4)
    for result in (feather(mask, 2, 2, 2, 2), grow(mask, -1, True), crop_mask(mask, 0, 0, 4, 4), mask_picture(mask)):
        result.zero_()
    assert (mask == 1).all()


@pytest.mark.parametrize(
    ("place", "shape"),
    [((-2, -1, 4, 4), (1, 3, 2)), ((6, 0, 9, 2), (1, 2, 3)), ((-9, 0, 4, 4), (1, 4, 0)), ((0, 20, 3, 3), (1, 0, 3))],
)
def test_parts_are_cut_off_at_the_edges(place: tuple[int, int, int, int], shape: tuple[int, ...]) -> None:
    assert crop_mask(DOT, *place).shape == shape


def test_what_is_empty_is_said_by_what_comes_next() -> None:
    nothing = crop_mask(DOT, 20, 0, 4, 4)
    picture, latent = torch.zeros(1, 8, 8, 3), Latent(torch.zeros(1, 4, 8, 8))
    for use in (
        lambda: mask_picture(nothing),
        lambda: feather(nothing, 1, 1, 1, 1),
        lambda: grow(nothing, 1, tapered=True),
        lambda: paste_picture(picture, picture, 0, 0, nothing, resize=False),
        lambda: join_alpha(picture, nothing),
        lambda: with_noise_mask(latent, nothing),
    ):
        with pytest.raises(LatentError, match=r"at least one cell are needed, these are \(1, 4, 0\)"):
            use()


class TestColors:
    def test_the_color_is_that_of_8_bits(self) -> None:
        picture = torch.tensor([[1.0, 0.5019, 0.0], [0.9985, 0.503, 0.0], [0.99, 0.5019, 0.0]]).reshape(1, 1, 3, 3)
        assert color_mask(picture, 0xFF8000).flatten().tolist() == [1, 1, 0]

    def test_grey_pictures_have_no_color(self) -> None:
        with pytest.raises(LatentError, match="3 channels or more"):
            color_mask(torch.zeros(1, 2, 2, 1), 0)

    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_channels(self, channels: int) -> None:
        picture = torch.rand(2, 3, 4, channels)
        assert torch.equal(channel_mask(picture, "blue"), picture[..., min(2, channels - 1)])
        alpha = picture[..., 3] if channels == 4 else torch.ones(2, 3, 4)
        assert torch.equal(channel_mask(picture, "alpha"), alpha)

    def test_two_channels_are_no_picture(self) -> None:
        with pytest.raises(LatentError, match="1, 3 or 4 channels"):
            channel_mask(torch.zeros(1, 2, 2, 2), "red")
