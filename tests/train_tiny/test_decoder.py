"""The decoder learns by itself; what latents mean stays as it is."""

from __future__ import annotations

import torch
from train_tiny.drawn import rectangles

from checkpoint import networks
from decoder import Learning, PictureBatches
from graphexec.diffusion.models.vae import Autoencoder
from graphexec.train.noise import at_each
from parallel import whole
from tokens import Tokens, Told


def test_pictures_are_the_same_whenever_they_are_asked_for() -> None:
    batches = PictureBatches(rectangles(), 2)
    asked, later = next(batches.epoch(1, 3)), next(batches.epoch(1, 3))
    torch.testing.assert_close(asked.pixels, later.pixels)
    assert asked.names == later.names
    assert not torch.equal(asked.pixels, next(batches.epoch(1, 4)).pixels)


def test_only_what_comes_after_the_latents_learns_and_it_sees_them_a_little_off() -> None:
    made = networks(0)
    vae, unet = made["vae"], made["unet"]
    assert isinstance(vae, Autoencoder)
    batch = next(PictureBatches(rectangles(), 4).epoch(0))
    seen = list[torch.Tensor]()
    vae.post_quant_conv.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    losses = Learning(vae, unet, Told(made["text"], Tokens()), whole)(batch, torch.Generator().manual_seed(0))
    losses.mean().backward()
    assert losses.shape == (4,)
    assert all(parameter.grad is None for parameter in unet.parameters())
    assert all(parameter.grad is None for parameter in (*vae.encoder.parameters(), *vae.quant_conv.parameters()))
    assert vae.decoder.conv_out.weight.grad is not None
    with torch.no_grad():
        off = seen[0] - vae.encode(batch.pixels)
    assert (off.std(dim=(1, 2, 3)) > 0).all()


def test_latents_that_the_unet_draws_are_seen_through_it() -> None:
    made = networks(0)
    learning = Learning(made["vae"], _Nought(), Told(made["text"], Tokens()), whole)  # pyright: ignore[reportArgumentType]
    latents, noise = (torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    timesteps = torch.tensor([0, 200, 499])
    seen = learning._seen_through(latents, noise, timesteps, torch.zeros(3, 77, 64))
    signal, sigma = (at_each(table, timesteps) for table in (learning.levels.signal, learning.levels.noise))
    torch.testing.assert_close(seen, latents + noise * sigma / signal)


class _Nought(torch.nn.Module):
    """A UNet that sees no noise anywhere."""

    def forward(self, x: torch.Tensor, _timesteps: torch.Tensor, _context: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)
