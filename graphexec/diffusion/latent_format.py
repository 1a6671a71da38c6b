"""Between latents as a VAE gives them and latents as a diffusion model takes them, which have about unit variance."""

from __future__ import annotations

import torch
from torch import Tensor

from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.types import Model

__all__ = ["from_model", "to_model"]

PLAYGROUND_SCALE = 0.5
PLAYGROUND_MEAN = (-1.6574, 1.886, -1.383, 2.5155)
PLAYGROUND_STD = (8.4927, 5.9022, 6.5498, 5.2299)
"""Channel by channel, of Playground v2.5 (Li et al. 2024, https://arxiv.org/abs/2402.17245)."""


def to_model(model: Model, latent: Tensor) -> Tensor:
    """Latents [B, C, h, w] of a VAE at the model's scale; empty ones, which no VAE made, stay zeros."""
    if model.sampling.latents == "family":
        return latent * FAMILIES[model.family].latent_scale
    if not latent.any():
        return latent
    mean, std = _playground(latent)
    return (latent - mean) * (PLAYGROUND_SCALE / std)


def from_model(model: Model, latent: Tensor) -> Tensor:
    """The model's latents [B, C, h, w] at the scale of its VAE."""
    if model.sampling.latents == "family":
        return latent / FAMILIES[model.family].latent_scale
    mean, std = _playground(latent)
    return latent * (std / PLAYGROUND_SCALE) + mean


def _playground(like: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(values).view(1, -1, 1, 1).to(like) for values in (PLAYGROUND_MEAN, PLAYGROUND_STD))
    return mean, std
