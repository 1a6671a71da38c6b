"""Pairs of latents that the UNet made and the pictures that they were to be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from train_tiny.drawn import rectangles

import pairs
from checkpoint import networks
from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.types import Sampling
from guided import CFG
from pairs import Sampler, make_pairs
from tokens import Tokens, Told

LEVELS = model_sampling(Sampling())


class Knowing(nn.Module):
    """A network that sees latents through any noise; the share that its context tells is added to them."""

    def __init__(self, latents: Tensor) -> None:
        super().__init__()
        self.latents = latents

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        sigma = LEVELS.sigma(float(timesteps[0]))
        wanted = torch.cat([self.latents, self.latents]) + context.mean(dim=(1, 2))[:, None, None, None]
        return x * (sigma**2 + 1) ** 0.5 / sigma - wanted / sigma


def test_sampling_goes_to_the_guided_estimate() -> None:
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    told = torch.full((2, 77, 64), 0.1)
    made = Sampler(Knowing(latents), torch.zeros(77, 64), "cpu")(latents, told, seed=3)
    torch.testing.assert_close(made, latents + CFG * 0.1, atol=0.02, rtol=0)


def test_it_begins_where_the_picture_can_still_be_told() -> None:
    sampler = Sampler(nn.Identity(), torch.zeros(77, 64), "cpu")
    assert 1 < sampler.sigmas[0] <= 2.6
    assert sampler.sigmas[-1] == 0


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "FILE", 2)
    monkeypatch.setattr(pairs, "CHUNK", 2)
    monkeypatch.setattr(pairs, "STEPS", 3)


@pytest.mark.usefixtures("few")
def test_pairs_are_kept_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "APART", 1e9)
    scenes, made = rectangles(), networks(0)
    told = Told(made["text"], Tokens())
    first = make_pairs(scenes, made, told, tmp_path, 3, "cpu", threads=1)
    assert first.latents.shape == (4, 4, 16, 16) and first.pictures.shape == (4, 128, 128, 3)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0.safetensors", "1.safetensors"]
    again = make_pairs(scenes, {"unet": made["vae"], "vae": made["vae"]}, told, tmp_path, 3, "cpu", threads=1)
    assert torch.equal(first.latents, again.latents) and torch.equal(first.pictures, again.pictures)


@pytest.mark.usefixtures("few")
def test_pictures_that_became_others_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of first weights makes nothing that is like its pictures."""
    monkeypatch.setattr(pairs, "APART", 0.0)
    scenes, made = rectangles(), networks(0)
    assert len(make_pairs(scenes, made, Told(made["text"], Tokens()), tmp_path, 2, "cpu", threads=1).latents) == 0
