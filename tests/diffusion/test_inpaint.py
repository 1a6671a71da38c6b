# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from graphexec.diffusion import inpaint
from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.images import vae_encode
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import Clip, Cond, Conditioning, Inpaint, Latent, Model, Vae

Recipes = tuple[Model, Clip, Vae]


def silent(message: str) -> None:
    raise AssertionError(message)


def dot(height: int, width: int, y: int, x: int) -> Tensor:
    mask = torch.zeros(1, height, width)
    mask[0, y, x] = 1.0
    return mask


def hidden(runtime: Runtime, recipes: Recipes, picture: Tensor, mask: Tensor, grow: int = 0) -> tuple[Tensor, Tensor]:
    latent = inpaint.encode_hidden(runtime, recipes[2], picture, mask, grow, warn=silent)
    assert latent.noise_mask is not None
    return latent.samples, latent.noise_mask


class TestHidden:
    def test_what_is_masked_is_grey(self, runtime: Runtime, recipes: Recipes) -> None:
        picture, grey, mask = torch.rand(2, 16, 24, 4), torch.full((16, 24, 4), 0.5), torch.zeros(1, 16, 24)
        mask[:, 4:9, 7:] = 0.7
        samples, noise_mask = hidden(runtime, recipes, picture, mask)
        by_hand = torch.where(mask[0, :, :, None] > 0.5, grey, picture)
        torch.testing.assert_close(samples, vae_encode(runtime, recipes[2], by_hand).samples)
        assert torch.equal(noise_mask, mask[None].round())

    def test_the_picture_is_untouched(self, runtime: Runtime, recipes: Recipes) -> None:
        picture = torch.rand(1, 16, 16, 3)
        before = picture.clone()
        hidden(runtime, recipes, picture, torch.ones(1, 16, 16))
        assert torch.equal(picture, before)

    def test_picture_and_mask_are_cut_alike(self, runtime: Runtime, recipes: Recipes) -> None:
        picture, mask = torch.rand(1, 21, 19, 3), torch.rand(1, 21, 19)
        samples, noise_mask = hidden(runtime, recipes, picture, mask)
        cut = hidden(runtime, recipes, picture[:, 2:18, 1:17], mask[:, 2:18, 1:17])
        assert torch.equal(samples, cut[0])
        assert torch.equal(noise_mask, cut[1])

    def test_a_mask_of_another_size_is_resized(self, runtime: Runtime, recipes: Recipes) -> None:
        picture = torch.rand(1, 16, 16, 3)
        small = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
        _, noise_mask = hidden(runtime, recipes, picture, small)
        assert torch.equal(noise_mask, F.interpolate(small[None], size=(16, 16), mode="bilinear").round())

    @given(grow=st.integers(1, 64), y=st.integers(0, 15), x=st.integers(0, 23))
    def test_the_mask_grows_as_by_a_convolution_with_ones(self, grow: int, y: int, x: int) -> None:
        planes = dot(16, 24, y, x)[None]
        summed = F.conv2d(planes, torch.ones(1, 1, grow, grow), padding=math.ceil((grow - 1) / 2))
        assert torch.equal(inpaint.grown(planes, grow), summed.clamp(0, 1)[..., :16, :24].round())

    def test_it_grows(self, runtime: Runtime, recipes: Recipes) -> None:
        _, noise_mask = hidden(runtime, recipes, torch.rand(1, 16, 16, 3), dot(16, 16, 8, 8), 6)
        assert noise_mask[0, 0].nonzero().tolist() == [[y, x] for y in range(6, 12) for x in range(6, 12)]

    def test_as_many_masks_as_pictures(self, runtime: Runtime, recipes: Recipes) -> None:
        samples, noise_mask = hidden(runtime, recipes, torch.rand(2, 16, 16, 3), torch.rand(2, 1, 16, 16))
        assert (samples.shape, noise_mask.shape) == ((2, 4, 2, 2), (2, 1, 16, 16))

    @pytest.mark.parametrize(("picture", "masks"), [((1, 16, 16, 3), 2), ((3, 16, 16, 3), 2), ((16, 16, 3), 1)])
    def test_others_are_refused(self, runtime: Runtime, recipes: Recipes, picture: tuple[int, ...], masks: int) -> None:
        with pytest.raises(LatentError, match="one mask for all or one for each"):
            hidden(runtime, recipes, torch.zeros(picture), torch.zeros(masks, 16, 16))

    def test_so_are_pictures_smaller_than_a_cell(self, runtime: Runtime, recipes: Recipes) -> None:
        with pytest.raises(LatentError, match=r"at least 8 pixels a side, not \(1, 5, 16, 3\)"):
            hidden(runtime, recipes, torch.zeros(1, 5, 16, 3), torch.zeros(1, 5, 16))


class TestConditioning:
    def around(
        self, runtime: Runtime, recipes: Recipes, picture: Tensor, mask: Tensor, noise_mask: bool
    ) -> tuple[Inpaint, Latent]:
        return inpaint.encode_around(runtime, recipes[2], picture, mask, noise_mask=noise_mask, warn=silent)

    @pytest.mark.parametrize("noise_mask", [True, False])
    def test_a_model_sees_the_rest_and_starts_from_the_whole(
        self, runtime: Runtime, recipes: Recipes, noise_mask: bool
    ) -> None:
        picture, mask = torch.rand(1, 18, 16, 3), torch.rand(1, 18, 16)
        shown, latent = self.around(runtime, recipes, picture, mask, noise_mask)
        assert torch.equal(shown.latent, hidden(runtime, recipes, picture, mask)[0])
        assert torch.equal(latent.samples, vae_encode(runtime, recipes[2], picture).samples)
        assert shown.mask is not None
        assert torch.equal(shown.mask, mask[:, 1:17])
        assert (latent.noise_mask is not None) == noise_mask

    def test_a_picture_to_edit(self, runtime: Runtime, recipes: Recipes) -> None:
        picture = torch.rand(1, 16, 17, 3)
        shown, latent = inpaint.encode_to_edit(runtime, recipes[2], picture, warn=silent)
        assert shown.mask is None
        assert torch.equal(shown.latent, vae_encode(runtime, recipes[2], picture).samples)
        assert torch.equal(latent.samples, torch.zeros(1, 4, 2, 2))

    def test_every_cond_shows_it(self) -> None:
        conditioning = Conditioning((Cond(torch.zeros(1, 1, 1), strength=0.5), Cond(torch.ones(1, 1, 1))))
        shown = Inpaint(torch.zeros(1, 4, 2, 2))
        found = inpaint.condition_on(conditioning, shown)
        assert [cond.inpaint for cond in found.conds] == [shown, shown]
        assert found.conds[0].strength == 0.5
        assert conditioning.conds[0].inpaint is None
