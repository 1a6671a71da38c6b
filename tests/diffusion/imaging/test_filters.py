"""Filters, edges, morphology, colors, blends and palettes beyond what was recorded."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.blend import blend
from graphexec.diffusion.imaging.canny import canny
from graphexec.diffusion.imaging.color import rgb_to_yuv, yuv_to_rgb
from graphexec.diffusion.imaging.filters import blur, gaussian_kernel, reflected, sharpen, sharpening_kernel
from graphexec.diffusion.imaging.morphology import morphology
from graphexec.diffusion.imaging.quantize import Dither, quantize

PICTURE = torch.rand(2, 6, 9, 3)


class TestFilters:
    @given(st.integers(1, 31), st.floats(0.1, 10))
    def test_kernels_add_up_to_one(self, radius: int, sigma: float) -> None:
        assert gaussian_kernel(2 * radius + 1, sigma).sum() == pytest.approx(1, abs=1e-5)
        assert sharpening_kernel(radius, sigma, 1.0).sum() == pytest.approx(1, abs=1e-4)

    def test_edges_are_mirrored_as_often_as_it_takes(self) -> None:
        row = torch.arange(3.0).reshape(1, 1, 1, 3)
        assert reflected(row, 5)[0, 0, 0].tolist() == [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]
        assert reflected(row, 1)[0, 0].tolist() == [[1, 0, 1, 2, 1]] * 3

    @pytest.mark.parametrize("radius", [1, 31])
    def test_flat_pictures_stay_flat(self, radius: int) -> None:
        flat = torch.full((1, 5, 4, 4), 0.3)
        assert torch.allclose(blur(flat, radius, 1.0), flat, atol=1e-5)
        assert torch.allclose(sharpen(flat, radius, 1.0, 1.0), flat, atol=1e-4)


class TestMorphology:
    @given(st.integers(3, 9))
    def test_opening_darkens_closing_brightens_and_both_are_done_after_one(self, size: int) -> None:
        opened, closed = morphology(PICTURE, "open", size), morphology(PICTURE, "close", size)
        assert (opened <= PICTURE).all() and (closed >= PICTURE).all()
        assert torch.equal(morphology(opened, "open", size), opened)
        assert torch.equal(morphology(closed, "close", size), closed)

    def test_a_kernel_larger_than_the_picture(self) -> None:
        most = PICTURE.amax((1, 2), keepdim=True).expand_as(PICTURE)
        assert torch.equal(morphology(PICTURE, "dilate", 99), most)


class TestCanny:
    def test_the_edge_of_a_square(self) -> None:
        picture = torch.zeros(1, 20, 20, 3)
        picture[:, 6:14, 6:14] = 1
        edges = canny(picture, 0.1, 0.2)[0, ..., 0]
        assert edges[10].sum() == 2
        assert not edges[9:11, 9:11].any()
        assert set(edges.unique().tolist()) == {0, 1}

    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_any_picture(self, channels: int) -> None:
        assert canny(torch.rand(2, 3, 4, channels), 0.1, 0.2).shape == (2, 3, 4, 3)

    def test_weak_edges_need_a_strong_one(self) -> None:
        ramp = (torch.arange(16.0) > 8).float() * 0.2
        assert not canny(ramp.expand(1, 16, 16)[..., None].repeat(1, 1, 1, 3), 0.1, 0.99).any()

    def test_thresholds_in_the_wrong_order_are_refused(self) -> None:
        with pytest.raises(LatentError, match=r"low_threshold 0\.8 is above high_threshold 0\.4"):
            canny(PICTURE, 0.8, 0.4)


class TestColors:
    def test_there_and_back(self) -> None:
        assert torch.allclose(yuv_to_rgb(*rgb_to_yuv(PICTURE)), PICTURE, atol=1e-5)

    def test_channels_of_different_sizes_are_refused(self) -> None:
        grey = torch.zeros(1, 4, 4, 3)
        with pytest.raises(LatentError, match=r"one height and width, these are \(4, 4\), \(2, 2\), \(4, 4\)"):
            yuv_to_rgb(grey, grey[:, :2, :2], grey)

    def test_grey_has_no_color(self) -> None:
        assert all(torch.allclose(part, torch.tensor(0.5)) for part in rgb_to_yuv(torch.full((1, 2, 2, 3), 0.7))[1:])
        with pytest.raises(LatentError, match="the YUV conversion takes pictures"):
            rgb_to_yuv(torch.zeros(1, 2, 2, 1))


class TestBlend:
    def test_no_share_changes_nothing(self) -> None:
        assert torch.equal(blend(PICTURE, torch.rand(1, 4, 4, 3), 0.0, "overlay"), PICTURE)

    def test_batches_and_channels_fit(self) -> None:
        assert blend(PICTURE, torch.rand(3, 6, 9, 4), 1.0, "normal").shape == (3, 6, 9, 3)


class TestQuantize:
    @pytest.mark.parametrize("dither", get_args(Dither))
    def test_no_more_colors_than_asked_for(self, dither: Dither) -> None:
        found = quantize(torch.rand(1, 20, 20, 3), 5, dither)
        assert found.reshape(-1, 3).unique(dim=0).shape[0] <= 5

    def test_alpha_is_kept(self) -> None:
        picture = torch.rand(1, 4, 4, 4)
        assert torch.equal(quantize(picture, 8, "none")[..., 3], picture[..., 3])
        with pytest.raises(LatentError, match="the palette takes pictures"):
            quantize(picture[..., :1], 8, "none")
