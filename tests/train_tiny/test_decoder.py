"""The decoder learns by itself; what latents mean stays as it is."""

from __future__ import annotations

import pytest
import torch
from train_tiny.drawn import rectangles

import decoder
from checkpoint import networks
from critic import Critic
from decoder import Batches, Learning
from graphexec.diffusion.models.vae import Autoencoder
from pairs import Pairs
from parallel import InParts, whole

PAIRS = Pairs(torch.full((3, 4, 16, 16), 0.5).half(), torch.full((3, 128, 128, 3), 255, dtype=torch.uint8))


@pytest.fixture(scope="module")
def vae() -> Autoencoder:
    made = networks(0)["vae"]
    assert isinstance(made, Autoencoder)
    return made


def test_batches_are_the_same_whenever_they_are_asked_for(vae: Autoencoder) -> None:
    batches = Batches(rectangles(), vae, PAIRS, 3, "cpu")
    asked, later = next(batches.epoch(1, 3)), next(batches.epoch(1, 3))
    torch.testing.assert_close(asked.pixels, later.pixels)
    torch.testing.assert_close(asked.latents, later.latents)
    assert asked.names == later.names
    assert not torch.equal(asked.pixels, next(batches.epoch(1, 4)).pixels)


def test_latents_are_the_unets_or_a_little_off(vae: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "SAMPLED_PART", 1.0)
    sampled = next(Batches(rectangles(), vae, PAIRS, 2, "cpu").epoch(0))
    assert (sampled.latents == 0.5).all() and (sampled.pixels == 1).all()
    monkeypatch.setattr(decoder, "SAMPLED_PART", 0.0)
    drawn = next(Batches(rectangles(), vae, PAIRS, 2, "cpu").epoch(0))
    with torch.no_grad():
        off = drawn.latents - vae.encode(drawn.pixels)
    assert (off.std(dim=(1, 2, 3)) > 0).all()


def test_only_what_comes_after_the_latents_learns(vae: Autoencoder) -> None:
    critic = Critic()
    losses = Learning(vae, critic, "cpu", whole)(
        next(Batches(rectangles(), vae, PAIRS, 2, "cpu").epoch(0)), torch.Generator()
    )
    losses.mean().backward()
    assert losses.shape == (2,)
    assert all(parameter.grad is None for parameter in (*vae.encoder.parameters(), *vae.quant_conv.parameters()))
    assert vae.decoder.conv_out.weight.grad is not None
    assert all(parameter.grad is not None for parameter in critic.parameters())


def test_parts_in_threads_of_their_own_learn_what_the_whole_does(vae: Autoencoder) -> None:
    torch.manual_seed(0)
    critic = Critic()
    batch = next(Batches(rectangles(), vae, PAIRS, 4, "cpu").epoch(0))
    learned = [*vae.decoder.parameters(), *critic.parameters()]
    found = list[list[torch.Tensor]]()
    for run in (whole, InParts(learned, 4)):
        losses = Learning(vae, critic, "cpu", run)(batch, torch.Generator()).mean()
        found.append([*torch.autograd.grad(losses, learned)])
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() <= 1e-3 * one.norm() + 1e-6
