# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion.tiny import VAE, checkpoint_weights
from safetensors.torch import save_file

from graphexec.diffusion import images
from graphexec.diffusion.checkpoint import open_vae
from graphexec.diffusion.faults import LatentError, NonFiniteError, OutOfMemory
from graphexec.diffusion.images import PEAK, Tiles, crop_to_cells, empty_latent, vae_decode, vae_encode
from graphexec.diffusion.models.vae import Autoencoder
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


class TestTiles:
    SMALL = Tiles(64, 16)

    def test_a_picture_inside_of_every_tile_is_decoded_as_without(self, runtime: Runtime, recipes: Recipes) -> None:
        latent = Latent(torch.randn(2, 4, 4, 4))
        whole = torch.cat([vae_decode(runtime, recipes[2], Latent(item)) for item in latent.samples.split(1)])
        assert torch.equal(vae_decode(runtime, recipes[2], latent, tiles=self.SMALL), whole)

    def test_larger_ones_are_decoded_nearly_alike(self, runtime: Runtime, recipes: Recipes) -> None:
        latent = Latent(torch.randn(1, 4, 14, 19))
        whole, tiled = (vae_decode(runtime, recipes[2], latent, tiles=tiles) for tiles in (None, self.SMALL))
        assert tiled.shape == whole.shape
        assert 0 < float((tiled - whole).abs().mean()) < 0.1

    def test_pictures_are_encoded_nearly_alike(self, runtime: Runtime, recipes: Recipes) -> None:
        picture = torch.rand(2, 117, 150, 4)
        whole, tiled = (vae_encode(runtime, recipes[2], picture, tiles=tiles).samples for tiles in (None, self.SMALL))
        assert tiled.shape == whole.shape == (2, 4, 14, 18)
        assert 0 < float((tiled - whole).abs().mean()) < 0.5 * float(whole.abs().mean())

    @pytest.mark.parametrize("overlap", [64, 4096])
    def test_an_overlap_too_large_is_a_quarter(self, runtime: Runtime, recipes: Recipes, overlap: int) -> None:
        latent, picture = Latent(torch.randn(1, 4, 9, 11)), torch.rand(1, 72, 88, 3)
        wide, quarter = Tiles(64, overlap), self.SMALL
        decoded = [vae_decode(runtime, recipes[2], latent, tiles=tiles) for tiles in (wide, quarter)]
        encoded = [vae_encode(runtime, recipes[2], picture, tiles=tiles).samples for tiles in (wide, quarter)]
        assert torch.equal(*decoded)
        assert torch.equal(*encoded)


def test_the_middle_is_kept() -> None:
    assert crop_to_cells(torch.arange(19).expand(9, 19), 8).tolist() == [list(range(1, 17))] * 8


class Narrow(Runtime):
    """A device on which a VAE can take no more than so many numbers at once."""

    def __init__(self, most: int) -> None:
        super().__init__("cpu")
        self.most = most
        self.batches: list[int] = []

    @contextmanager
    def vae(self, vae: Vae, *, warn: Callable[[str], object] = lambda message: None) -> Generator[Autoencoder]:
        with super().vae(vae, warn=warn) as network:
            sides = [side.register_forward_pre_hook(self._measure) for side in (network.encoder, network.decoder)]
            yield network
            for handle in sides:
                handle.remove()

    def _measure(self, module: object, inputs: tuple[Any, ...]) -> None:
        if inputs[0].numel() > self.most:
            raise torch.OutOfMemoryError("no memory")
        self.batches.append(len(inputs[0]))


class TestShortMemory:
    def test_pictures_are_decoded_one_by_one(self, runtime: Runtime, recipes: Recipes) -> None:
        latent, narrow = Latent(torch.randn(3, 4, 4, 4)), Narrow(100)
        said = list[str]()
        found = vae_decode(narrow, recipes[2], latent, warn=said.append)
        torch.testing.assert_close(found, vae_decode(runtime, recipes[2], latent), rtol=1e-4, atol=1e-4)
        assert (narrow.batches, said) == ([1, 1, 1], [])

    def test_pictures_are_encoded_one_by_one(self, runtime: Runtime, recipes: Recipes) -> None:
        picture, narrow = torch.rand(2, 16, 16, 3), Narrow(16 * 16 * 3)
        found = vae_encode(narrow, recipes[2], picture).samples
        torch.testing.assert_close(found, vae_encode(runtime, recipes[2], picture).samples, rtol=1e-4, atol=1e-4)
        assert narrow.batches == [1, 1]

    def test_then_in_tiles_with_a_warning(self, runtime: Runtime, recipes: Recipes) -> None:
        latent, said = Latent(torch.randn(1, 4, 2, 130)), list[str]()
        found = vae_decode(Narrow(130 * 2 * 4 - 1), recipes[2], latent, warn=said.append)
        assert torch.equal(found, vae_decode(runtime, recipes[2], latent, tiles=Tiles(512, 128)))
        assert [message.split(";")[0] for message in said] == ["memory is too short for decoding at once"]

    def test_a_computer_is_not_filled_to_see_whether_it_has_memory(
        self, recipes: Recipes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        latent, narrow, said = Latent(torch.randn(2, 4, 3, 66)), Narrow(10_000), list[str]()
        one = 3 * 66 * 64 * 32 * PEAK * 4
        monkeypatch.setattr(images, "host_budget", lambda: one)
        vae_decode(narrow, recipes[2], latent, warn=said.append)
        assert (narrow.batches, said) == ([1, 1], [])
        monkeypatch.setattr(images, "host_budget", lambda: one - 1)
        vae_decode(narrow, recipes[2], Latent(latent.samples[:1]), warn=said.append)
        assert len(said) == 1
        assert len(narrow.batches) > 3

    def test_encoding_too(self, runtime: Runtime, recipes: Recipes) -> None:
        picture, said = torch.rand(1, 16, 1040, 3), list[str]()
        found = vae_encode(Narrow(16 * 1040 * 3 - 1), recipes[2], picture, warn=said.append).samples
        assert torch.equal(found, vae_encode(runtime, recipes[2], picture, tiles=Tiles(512, 64)).samples)
        assert len(said) == 1

    def test_there_is_an_end_to_it(self, recipes: Recipes) -> None:
        with pytest.raises(OutOfMemory, match="decoding in tiles does not fit in memory"):
            vae_decode(Narrow(10), recipes[2], Latent(torch.randn(1, 4, 4, 4)))
