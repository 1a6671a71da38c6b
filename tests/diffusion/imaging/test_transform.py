# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import pytest
import torch

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.batches import pick, rebatch, repeat_to, same_channels
from graphexec.diffusion.imaging.scaling import fit_into, scale, scale_by, scale_to_longest, scale_to_megapixels
from graphexec.diffusion.imaging.transform import batch, crop, outpaint_frame, solid, stitch

WIDE = torch.rand(2, 20, 40, 3)


def test_pictures_are_picked_as_far_as_there_are() -> None:
    numbered = torch.arange(4.0).reshape(4, 1, 1, 1)
    picked = [pick(numbered, first, 2).flatten().tolist() for first in (0, 3, 9, -3)]
    assert picked == [[0, 1], [3], [3], [1, 2]]
    with pytest.raises(LatentError, match="1 pictures from number -1 on are none of a batch of 4"):
        pick(numbered, -1, 1)


class TestScaling:
    def test_a_side_follows_from_the_other(self) -> None:
        assert scale(WIDE, 10, 0, "area", "disabled").shape[1:3] == (5, 10)
        assert scale(WIDE, 0, 10, "area", "disabled").shape[1:3] == (10, 20)
        assert scale(WIDE, 0, 0, "area", "center") is WIDE

    def test_no_side_vanishes(self) -> None:
        line = torch.rand(1, 1, 300, 3)
        assert scale_by(line, 0.01, "bilinear").shape[1:3] == (1, 3)
        assert scale_to_longest(line, 20, "bilinear").shape[1:3] == (1, 20)
        assert fit_into(line, 20, 20, 0.0, "bilinear").shape[1:3] == (20, 20)

    def test_to_an_area_or_a_longest_side(self) -> None:
        assert scale_to_megapixels(WIDE, 0.01, "nearest-exact").shape[1:3] == (72, 145)
        assert scale_to_longest(WIDE.transpose(1, 2), 10, "lanczos").shape[1:3] == (10, 5)
        with pytest.raises(LatentError, match="at least 1"):
            scale_to_longest(WIDE, 0, "lanczos")

    def test_into_the_middle_of_a_frame(self) -> None:
        framed = fit_into(torch.zeros(1, 2, 4, 3), 4, 6, 1.0, "area")
        assert framed[0, :, 0, 0].tolist() == [1, 1, 0, 0, 1, 1]


class TestCrop:
    def test_what_lies_beyond_the_edges_is_left_out(self) -> None:
        assert torch.equal(crop(WIDE, -3, 18, 8, 8), WIDE[:, 18:, :5])

    def test_a_corner_beyond_the_picture_is_its_last_pixel(self) -> None:
        assert torch.equal(crop(WIDE, 500, 500, 8, 8), WIDE[:, -1:, -1:])

    def test_a_part_before_the_picture_is_refused(self) -> None:
        with pytest.raises(LatentError, match=r"8 x 8 at \(-9, 0\) holds no pixel of 40 x 20"):
            crop(WIDE, -9, 0, 8, 8)


class TestOutpaint:
    def test_the_mask_fades_towards_the_sides_that_grow(self) -> None:
        framed, mask = outpaint_frame(torch.zeros(2, 10, 10, 3), 8, 0, 0, 0, 4)
        assert framed.shape == (2, 10, 18, 3) and mask.shape == (1, 10, 18)
        assert (framed[:, :, :8] == 0.5).all() and not framed[:, :, 8:].any()
        fade = [1.0, 0.5625, 0.25, 0.0625, 0.0]
        assert mask[0, 5, 7:13].tolist() == [1.0, *fade]

    def test_no_fade_where_it_does_not_fit(self) -> None:
        _, mask = outpaint_frame(torch.zeros(1, 8, 20, 3), 8, 8, 8, 8, 4)
        assert not mask[:, 8:-8, 8:-8].any()

    def test_negative_margins_are_refused(self) -> None:
        with pytest.raises(LatentError, match="none may be negative"):
            outpaint_frame(WIDE, 0, -8, 0, 0, 0)


class TestStitch:
    def test_the_second_lies_where_it_is_told(self) -> None:
        first, second = torch.zeros(1, 4, 4, 3), torch.ones(1, 4, 4, 3)
        assert stitch(first, second, "right", True, 0, "white")[0, 0, ::4, 0].tolist() == [0, 1]
        assert stitch(first, second, "left", True, 0, "white")[0, 0, ::4, 0].tolist() == [1, 0]
        assert stitch(first, second, "up", True, 0, "white")[0, ::4, 0, 0].tolist() == [1, 0]

    def test_sizes_match_or_get_bars(self) -> None:
        small = torch.zeros(1, 5, 10, 4)
        assert stitch(WIDE, small, "right", True, 3, "red").shape == (2, 20, 40 + 4 + 40, 4)
        assert stitch(WIDE, small, "down", True, 0, "red").shape == (2, 20 + 20, 40, 4)
        bars = stitch(WIDE, small, "right", False, 0, "white")
        assert bars.shape == (2, 20, 50, 4) and (bars[:, :7, 40:] == 1).all() and not bars[:, 7:12, 40:, :3].any()

    def test_spacing_has_its_color(self) -> None:
        gap = stitch(torch.zeros(1, 2, 2, 4), torch.zeros(1, 2, 2, 4), "right", True, 2, "blue")[0, 0, 2]
        assert gap.tolist() == [0, 0, 1, 1]


class TestBatches:
    def test_the_second_takes_the_size_of_the_first(self) -> None:
        assert batch(WIDE, torch.rand(1, 7, 7, 4)).shape == (3, 20, 40, 4)

    def test_new_batches_start_where_the_size_changes(self) -> None:
        pictures = [torch.rand(3, 4, 4, 3), torch.rand(2, 4, 4, 3), torch.rand(1, 5, 5, 3)]
        batches = rebatch(pictures, 2)
        assert [tuple(b.shape[:2]) for b in batches] == [(2, 4), (2, 4), (1, 4), (1, 5)]
        assert torch.equal(torch.cat(batches[:3]), torch.cat(pictures[:2]))

    def test_repeated_over_and_over(self) -> None:
        assert repeat_to(torch.arange(2), 5).tolist() == [0, 1, 0, 1, 0]

    def test_what_is_added_is_opaque(self) -> None:
        first, second = same_channels(torch.zeros(1, 1, 1, 3), torch.zeros(1, 1, 1, 4))
        assert first[..., 3] == 1 and second[..., 3] == 0

    def test_colors(self) -> None:
        assert torch.allclose(solid(2, 1, 3, 0xFF8000)[2, 0, 1], torch.tensor([1.0, 128 / 255, 0.0]))
