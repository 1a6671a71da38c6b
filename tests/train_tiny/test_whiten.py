"""Whitened latents have mean 0 and deviation 1, and decode to the same pictures."""

from __future__ import annotations

import torch

from graphexec.diffusion.models.vae import Autoencoder
from layouts import VAE
from whiten import SCALE, whiten


def test_latents_are_white_and_decode_to_the_same_pictures() -> None:
    torch.manual_seed(0)
    vae, pictures = Autoencoder(VAE).requires_grad_(False), torch.rand(4, 3, 32, 32) * 2 - 1
    latents = vae.encode(pictures)
    before = vae.decode(latents)
    whiten(vae, latents)
    white = vae.encode(pictures)
    torch.testing.assert_close(vae.decode(white), before, rtol=1e-4, atol=1e-5)
    scaled = white * SCALE
    torch.testing.assert_close(scaled.mean(dim=(0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(scaled.std(dim=(0, 2, 3)), torch.ones(4), rtol=1e-4, atol=0)
