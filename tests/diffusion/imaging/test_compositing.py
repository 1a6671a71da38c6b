# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.compositing import combine_masks, join_alpha, paste, paste_picture, split_alpha
from graphexec.diffusion.imaging.porter_duff import porter_duff

PLACES = st.integers(-12, 12)


def by_hand(destination: Tensor, source: Tensor, left: int, top: int) -> Tensor:
    result = destination.clone()
    for y in range(source.shape[-2]):
        for x in range(source.shape[-1]):
            if 0 <= top + y < result.shape[-2] and 0 <= left + x < result.shape[-1]:
                result[..., top + y, left + x] = source[..., y, x]
    return result


class TestPaste:
    @given(PLACES, PLACES)
    def test_any_place(self, left: int, top: int) -> None:
        destination, source = torch.rand(1, 2, 6, 8), torch.rand(1, 2, 4, 3)
        expected = by_hand(destination, source, left, top)
        assert torch.equal(paste(destination, source, left, top, None, False), expected)
        masked = paste(destination, source, left, top, torch.ones(4, 3), False)
        assert torch.equal(masked, expected)
        assert torch.equal(paste(destination, source, left, top, torch.zeros(1, 4, 3), False), destination)

    def test_half_a_mask_is_half_of_each(self) -> None:
        found = paste(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 1, 1), 1, 1, torch.full((1, 5, 5), 0.5), False)
        assert found.flatten().tolist() == [0, 0, 0, 0.5]

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_the_source_is_cut_or_repeated_to_the_batch(self, count: int) -> None:
        source = torch.rand(count, 1, 2, 2)
        found = paste(torch.zeros(3, 1, 2, 2), source, 0, 0, None, False)
        assert torch.equal(found, source[torch.arange(3) % count])

    def test_it_is_resized(self) -> None:
        found = paste(torch.zeros(1, 1, 7, 5), torch.ones(1, 1, 2, 2), 0, 0, None, True)
        assert torch.allclose(found, torch.tensor(1.0))

    def test_inputs_stay_as_they_are(self) -> None:
        destination = torch.zeros(1, 1, 2, 2)
        paste(destination, torch.ones(1, 1, 2, 2), 0, 0, None, False)
        assert not destination.any()

    def test_other_channels_are_refused(self) -> None:
        with pytest.raises(LatentError, match="channels"):
            paste(torch.zeros(1, 4, 2, 2), torch.zeros(1, 16, 2, 2), 0, 0, None, False)

    def test_pictures_lose_their_alpha(self) -> None:
        assert paste_picture(torch.zeros(1, 2, 2, 3), torch.ones(1, 1, 1, 4), 0, 0, None, False).shape == (1, 2, 2, 3)


@given(PLACES, PLACES)
def test_masks_are_combined_at_any_place(x: int, y: int) -> None:
    destination, source = torch.zeros(1, 6, 8), torch.ones(3, 4)
    expected = by_hand(destination, source, x, y)
    assert torch.equal(combine_masks(destination, source, x, y, "add"), expected)
    assert torch.equal(combine_masks(destination, source, x, y, "xor"), expected)
    inverse = combine_masks(torch.ones(1, 6, 8), source, x, y, "subtract")
    assert torch.equal(inverse, 1 - expected)
    assert torch.equal(combine_masks(torch.ones(1, 6, 8), 1 - source, x, y, "multiply"), 1 - expected)


def test_logic_rounds_first_and_sums_stay_in_range() -> None:
    half = torch.tensor([[0.4, 0.6]])
    assert combine_masks(half, torch.ones(1, 2), 0, 0, "and").tolist() == [[[0, 1]]]
    assert combine_masks(half, half, 0, 0, "add")[0, 0, 1] == 1


class TestAlpha:
    def test_split_and_joined_it_is_the_same(self) -> None:
        picture = torch.rand(2, 3, 4, 4)
        assert torch.allclose(join_alpha(*split_alpha(picture)), picture, atol=1e-6)

    def test_what_has_no_alpha_is_opaque(self) -> None:
        assert not split_alpha(torch.rand(1, 3, 4, 3))[1].any()

    def test_the_mask_is_resized_and_the_batch_repeated(self) -> None:
        assert join_alpha(torch.rand(1, 6, 4, 3), torch.rand(2, 3, 9)).shape == (2, 6, 4, 4)


class TestPorterDuff:
    def test_opaque_over_anything_is_itself(self) -> None:
        source, destination, nothing = torch.rand(1, 4, 5, 3), torch.rand(1, 4, 5, 3), torch.zeros(1, 4, 5)
        color, mask = porter_duff(source, nothing, destination, torch.rand(1, 4, 5), "SRC_OVER")
        assert torch.allclose(color, source) and torch.allclose(mask, nothing)

    def test_sizes_channels_and_batches_follow_the_destination(self) -> None:
        color, mask = porter_duff(
            torch.rand(3, 9, 7, 4), torch.rand(2, 3, 3), torch.rand(2, 4, 5, 3), torch.rand(4, 5), "XOR"
        )
        assert color.shape == (1, 4, 5, 3) and mask.shape == (1, 4, 5)
