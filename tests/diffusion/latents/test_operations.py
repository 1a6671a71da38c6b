"""Operations that are handed on as values."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphexec.diffusion.latents.kinds import LatentOperation, Sharpen, TonemapReinhard
from graphexec.diffusion.latents.operations import apply_operation, operated
from graphexec.diffusion.types import Latent


def samples(height: int = 6, width: int = 5, seed: int = 3) -> torch.Tensor:
    return torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(seed)) * 3


def test_mask_and_index_stay() -> None:
    latent = Latent(samples(), torch.ones(1, 1, 4, 4), (3, 4))
    after = apply_operation(latent, TonemapReinhard(1.0))
    assert (after.noise_mask, after.batch_index) == (latent.noise_mask, (3, 4))


class TestReinhard:
    def test_lengths_shrink_below_the_brightest_and_directions_stay(self) -> None:
        before = samples()
        after = operated(before, TonemapReinhard(0.5))
        cosine = torch.cosine_similarity(before, after, dim=1)
        assert torch.allclose(cosine, torch.ones_like(cosine), atol=1e-5)
        length = before.norm(dim=1)
        brightest = (length.std((1, 2), keepdim=True) * 5 + length.mean((1, 2), keepdim=True)) * 0.5
        assert torch.allclose(after.norm(dim=1), length * brightest / (length + brightest), atol=1e-5)

    def test_zero_is_the_limit(self) -> None:
        assert not operated(samples(), TonemapReinhard(0.0)).any()
        assert float(operated(samples(), TonemapReinhard(1e-6)).abs().max()) < 1e-4

    def test_a_single_cell_has_no_deviation(self) -> None:
        one = samples(1, 1)
        assert torch.allclose(operated(one, TonemapReinhard(1.0)), one / 2, atol=1e-5)


class TestSharpen:
    def test_flat_latents_stay(self) -> None:
        flat = torch.full((1, 4, 5, 7), 2.0)
        assert torch.allclose(operated(flat, Sharpen(2, 1.0, 0.7)), flat, atol=1e-4)

    @pytest.mark.parametrize("radius", [1, 4, 31])
    def test_it_is_a_convolution_over_mirrored_edges_however_large_the_radius(self, radius: int) -> None:
        before, how = samples(), Sharpen(radius, 0.8, 0.2)
        length = before.norm(dim=1, keepdim=True) + 1e-6
        edges = ((0, 0), (0, 0), (radius, radius), (radius, radius))
        padded = np.pad((before / length).double().numpy(), edges, mode="reflect")
        y, x = np.mgrid[-1 : 1 : (2 * radius + 1) * 1j, -1 : 1 : (2 * radius + 1) * 1j]
        blur = np.exp(-(x**2 + y**2) / (2 * how.sigma**2))
        kernel = blur / blur.sum() * -10 * how.alpha
        kernel[radius, radius] += 1 - kernel.sum()
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, (2, 3))
        wanted = torch.from_numpy((windows * kernel).sum((-1, -2))) * length
        assert torch.allclose(operated(before, how).double(), wanted, atol=1e-4)

    def test_one_row(self) -> None:
        assert torch.isfinite(operated(samples(1, 5), Sharpen(9, 1.0, 0.1))).all()


def test_an_unknown_operation() -> None:
    with pytest.raises(TypeError, match="LatentOperation"):
        operated(samples(), LatentOperation())
