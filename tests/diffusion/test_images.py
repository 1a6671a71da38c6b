# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusion.tiny import VAE, checkpoint_weights
from safetensors.torch import save_file

from graphexec.diffusion.checkpoint import open_vae
from graphexec.diffusion.faults import LatentError, NonFiniteError
from graphexec.diffusion.images import empty_latent, vae_decode, vae_encode
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import Clip, Latent, Model, Vae

Recipes = tuple[Model, Clip, Vae]


def test_an_empty_latent() -> None:
    latent = empty_latent(64, 72, 3)
    assert latent.samples.shape == (3, 4, 9, 8)
    assert not latent.samples.any()


def test_decoded_pictures_lie_in_0_to_1(runtime: Runtime, recipes: Recipes) -> None:
    picture = vae_decode(runtime, recipes[2], Latent(torch.randn(2, 4, 4, 3)))
    assert picture.shape == (2, 32, 24, 3)
    assert picture.dtype == torch.float32
    assert 0 <= float(picture.min()) < float(picture.max()) <= 1


def test_pictures_are_cropped_to_the_middle_and_lose_their_alpha(runtime: Runtime, recipes: Recipes) -> None:
    picture = torch.rand(1, 35, 30, 4)
    whole = vae_encode(runtime, recipes[2], picture)
    assert whole.samples.shape == (1, 4, 4, 3)
    assert torch.equal(whole.samples, vae_encode(runtime, recipes[2], picture[:, 1:33, 3:27, :3]).samples)


def test_results_may_be_changed_in_place(runtime: Runtime, recipes: Recipes) -> None:
    vae_decode(runtime, recipes[2], empty_latent(16, 16)).mul_(2)


@pytest.mark.parametrize("samples", [torch.zeros(1, 16, 4, 4), torch.zeros(4, 4, 4)])
def test_latents_of_another_kind_are_refused(runtime: Runtime, recipes: Recipes, samples: torch.Tensor) -> None:
    with pytest.raises(LatentError, match=r"\[batch, 4, height, width\]"):
        vae_decode(runtime, recipes[2], Latent(samples))


@pytest.mark.parametrize("shape", [(1, 7, 64, 3), (64, 64, 3), (1, 64, 64, 1)])
def test_pictures_of_another_kind_are_refused(runtime: Runtime, recipes: Recipes, shape: tuple[int, ...]) -> None:
    with pytest.raises(LatentError, match="at least 8 pixels"):
        vae_encode(runtime, recipes[2], torch.zeros(shape))


def test_no_black_picture_for_a_latent_that_is_not_finite(runtime: Runtime, recipes: Recipes) -> None:
    with pytest.raises(NonFiniteError, match="decoded picture"):
        vae_decode(runtime, recipes[2], Latent(torch.full((1, 4, 2, 2), torch.nan)))
    with pytest.raises(NonFiniteError, match="encoded latent"):
        vae_encode(runtime, recipes[2], torch.full((1, 16, 16, 3), torch.nan))


def test_a_vae_of_its_own_is_that_of_the_checkpoint(tmp_path: Path, runtime: Runtime, recipes: Recipes) -> None:
    weights = checkpoint_weights()
    save_file({name[len(VAE) :]: w for name, w in weights.items() if name.startswith(VAE)}, tmp_path / "vae")
    latent = Latent(torch.randn(1, 4, 2, 2))
    assert torch.equal(vae_decode(runtime, open_vae(tmp_path / "vae"), latent), vae_decode(runtime, recipes[2], latent))
