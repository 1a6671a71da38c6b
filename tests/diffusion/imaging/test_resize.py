# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.resize import Method, center_crop, resize_picture, upscale

METHODS: tuple[Method, ...] = get_args(Method)
SIDES = st.integers(1, 40)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_any_number_of_channels_and_a_flat_picture_stays_flat(method: Method, channels: int) -> None:
    flat = torch.full((2, channels, 6, 9), 0.2)
    resized = upscale(flat, 5, 11, method)
    assert resized.shape == (2, channels, 11, 5)
    assert torch.allclose(resized, torch.tensor(0.2), atol=1 / 255 if method == "lanczos" else 1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_size_changes_nothing(method: Method) -> None:
    picture = torch.randint(0, 256, (1, 3, 5, 7)) / 255
    assert torch.allclose(upscale(picture, 7, 5, method), picture, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_stays_half(method: Method) -> None:
    assert upscale(torch.rand(1, 4, 4, 4).half(), 6, 6, method).dtype == torch.float16


def test_pictures_have_their_channels_last() -> None:
    picture = torch.rand(2, 4, 6, 3)
    expected = upscale(picture.movedim(-1, 1), 9, 5, "bicubic").movedim(1, -1)
    assert torch.equal(resize_picture(picture, 9, 5, "bicubic"), expected)


class TestCrop:
    def test_the_middle_is_kept(self) -> None:
        row = torch.arange(10.0).repeat(4, 1)
        assert center_crop(row, 4, 4)[0].tolist() == [3, 4, 5, 6]
        assert torch.equal(center_crop(row.T, 4, 4), center_crop(row, 4, 4).T)

    @given(SIDES, SIDES, SIDES, SIDES)
    def test_something_is_always_left_and_one_side_is_whole(self, w: int, h: int, width: int, height: int) -> None:
        left = center_crop(torch.zeros(h, w), width, height)
        assert min(left.shape) >= 1
        assert left.shape[0] == h or left.shape[1] == w


class TestBislerp:
    def test_lengths_and_directions_lie_between_those_of_neighbours(self) -> None:
        east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
        line = torch.stack([east, north], dim=-1).reshape(1, 2, 1, 2)
        middle = upscale(line, 6, 1, "bislerp")[0, :, 0, :]
        lengths = middle.norm(dim=0)
        assert torch.allclose(middle[:, 0], east) and torch.allclose(middle[:, -1], north)
        assert (lengths.diff() >= 0).all()
        angles = torch.atan2(middle[1], middle[0])
        assert torch.allclose(angles[1:-1].diff(), torch.full((3,), torch.pi / 6), atol=1e-5)

    def test_nothing_and_opposite_directions_give_numbers(self) -> None:
        line = torch.tensor([[0.0, 1.0, -1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).reshape(1, 2, 1, 4)
        resized = upscale(line, 9, 2, "bislerp")
        assert resized.isfinite().all()
        assert resized[0, 0].min() >= -1 and resized[0, 0].max() <= 1


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(LatentError, match="4 x 3 cannot be resized to 0 x 5"):
        upscale(torch.zeros(1, 3, 3, 4), 0, 5, "bilinear")
    with pytest.raises(LatentError, match="at least 1"):
        upscale(torch.zeros(1, 3, 0, 4), 2, 5, "area")
