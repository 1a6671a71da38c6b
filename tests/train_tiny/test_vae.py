"""The autoencoder learns from quarters of pictures, then from whole ones."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from train_tiny.drawn import rectangles

from checkpoint import networks_of
from graphexec.diffusion.models.vae import Autoencoder
from graphexec.train.muon import Muon
from parallel import whole
from vae import BATCH, KL, Batches, Learning, reconstruction_loss


@pytest.fixture
def model() -> Autoencoder:
    return cast("Autoencoder", networks_of({})["vae"])


def test_most_steps_see_quarters_twice_as_many() -> None:
    shapes = [tuple(batch.pixels.shape) for batch in Batches(rectangles().drawings, 20).epoch(0)]
    assert shapes == [(2 * BATCH, 3, 64, 64)] * 18 + [(BATCH, 3, 128, 128)] * 2


def test_batches_are_the_same_whenever_they_are_asked_for() -> None:
    batches = Batches(rectangles().drawings, 20)
    asked, later = next(batches.epoch(0, 3)), next(batches.epoch(0, 3))
    assert torch.equal(asked.pixels, later.pixels)
    assert not torch.equal(asked.pixels, next(batches.epoch(0, 4)).pixels)


def test_a_picture_comes_back_better_and_better(model: Autoencoder) -> None:
    batch, learning = next(Batches(rectangles().drawings, 20).epoch(0)), Learning(model, "cpu", whole)
    optimiser, losses = Muon(model.parameters(), 0.005), list[float]()
    for step in range(6):
        loss = learning(batch, torch.Generator().manual_seed(step)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@torch.no_grad()
def test_latents_pay_for_being_other_than_white_noise(model: Autoencoder) -> None:
    batch = next(Batches(rectangles().drawings, 20).epoch(0))
    mean, log_variance = model.quant_conv(model.encoder(batch.pixels)).chunk(2, dim=1)
    made = Normal(mean, (0.5 * log_variance.clamp(-12, 4)).exp())
    apart = kl_divergence(made, Normal(torch.zeros_like(mean), 1.0))
    loss = Learning(model, "cpu", whole)._losses(batch.pixels, torch.zeros_like(mean))  # pyright: ignore[reportPrivateUsage]
    expected = reconstruction_loss(model.decode(mean), batch.pixels) + KL * apart.sum(dim=(1, 2, 3))
    torch.testing.assert_close(loss, expected)
