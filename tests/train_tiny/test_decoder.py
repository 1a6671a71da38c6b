"""The decoder learns by itself; what latents mean stays as it is."""

from __future__ import annotations

import torch
from train_tiny.drawn import rectangles

from checkpoint import networks
from decoder import Learning, PictureBatches
from graphexec.diffusion.models.vae import Autoencoder
from parallel import whole


def test_pictures_are_the_same_whenever_they_are_asked_for() -> None:
    batches = PictureBatches(rectangles(), 2)
    asked, later = next(batches.epoch(1, 3)), next(batches.epoch(1, 3))
    torch.testing.assert_close(asked.pixels, later.pixels)
    assert asked.names == later.names
    assert not torch.equal(asked.pixels, next(batches.epoch(1, 4)).pixels)


def test_only_what_comes_after_the_latents_learns_and_it_sees_them_a_little_off() -> None:
    vae = networks(0)["vae"]
    assert isinstance(vae, Autoencoder)
    batch = next(PictureBatches(rectangles(), 2).epoch(0))
    seen = list[torch.Tensor]()
    vae.post_quant_conv.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    losses = Learning(vae, whole)(batch, torch.Generator().manual_seed(0))
    losses.mean().backward()
    assert losses.shape == (2,)
    assert all(parameter.grad is None for parameter in (*vae.encoder.parameters(), *vae.quant_conv.parameters()))
    assert vae.decoder.conv_out.weight.grad is not None
    with torch.no_grad():
        off = seen[0] - vae.encode(batch.pixels)
    assert (off.std(dim=(1, 2, 3)) > 0).all()
