"""From a UNet to a denoiser: conditioning, classifier-free guidance, inpainting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.sampling.discrete import ModelSampling
from graphexec.diffusion.sampling.samplers import Denoiser
from graphexec.diffusion.types import Conditioning

__all__ = ["Guided", "Inpainting", "guide"]

LONGEST_REPEAT = 4
"""Conds of different lengths share a forward pass if repeating makes none more than so many times longer."""


@dataclass(frozen=True, slots=True)
class Guided:
    """Classifier-free guidance (Ho and Salimans 2022, https://arxiv.org/abs/2207.12598).

    `negative` and `positive` are embeddings [1, T, C] on the UNet's device; no `negative` means no guidance.
    """

    unet: UNet
    levels: ModelSampling
    positive: tuple[Tensor, ...]
    negative: tuple[Tensor, ...]
    cfg: float

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor:
        """The estimate of the noiseless latent."""
        return self.with_uncond(x, sigma)[0]

    def with_uncond(self, x: Tensor, sigma: float, /) -> tuple[Tensor, Tensor]:
        """The estimate, and that of the negative; without one, the estimate itself."""
        embeddings = (*self.negative, *self.positive)
        noise = torch.cat([self._predict(x, sigma, group) for group in _groups(embeddings)])
        estimates = x - noise.unflatten(0, (len(embeddings), -1)) * sigma
        wanted = estimates[len(self.negative) :].mean(0)
        if not self.negative:
            return wanted, wanted
        unwanted = estimates[: len(self.negative)].mean(0)
        return unwanted + (wanted - unwanted) * self.cfg, unwanted

    def _predict(self, x: Tensor, sigma: float, embeddings: Sequence[Tensor]) -> Tensor:
        """The noise in x under each embedding, in one forward pass: [len(embeddings) * B, C, h, w]."""
        length = math.lcm(*(embedding.shape[1] for embedding in embeddings))
        context = torch.cat([e.repeat(len(x), length // e.shape[1], 1) for e in embeddings])
        inputs = (x / math.sqrt(sigma**2 + 1)).repeat(len(embeddings), 1, 1, 1).to(context.dtype)
        timesteps = torch.full((len(inputs),), self.levels.timestep(sigma), device=x.device)
        return self.unet(inputs, timesteps, context).to(x.dtype)


@dataclass(frozen=True, slots=True)
class Inpainting:
    """Keeps what a mask leaves out: it sees `latent` noised to each step's level, and comes back as it was."""

    inner: Denoiser
    latent: Tensor
    mask: Tensor
    noise: Tensor

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor:
        """The estimate of the noiseless latent, `latent` itself outside the mask."""
        return self._kept(self.inner(self._renoised(x, sigma), sigma))

    def with_uncond(self, x: Tensor, sigma: float, /) -> tuple[Tensor, Tensor]:
        """The estimate, and that without the prompt, which the mask leaves as it is."""
        denoised, uncond = self.inner.with_uncond(self._renoised(x, sigma), sigma)
        return self._kept(denoised), uncond

    def _renoised(self, x: Tensor, sigma: float) -> Tensor:
        return x * self.mask + (self.latent + self.noise * sigma) * (1 - self.mask)

    def _kept(self, denoised: Tensor) -> Tensor:
        return denoised * self.mask + self.latent * (1 - self.mask)


def guide(unet: UNet, levels: ModelSampling, positive: Conditioning, negative: Conditioning, cfg: float) -> Guided:
    """The guided denoiser of a UNet; at cfg 1 the negative is not computed, since it would not count."""
    unwanted = () if math.isclose(cfg, 1.0) else _embeddings(unet, negative)
    return Guided(unet, levels, _embeddings(unet, positive), unwanted, cfg)


def _embeddings(unet: UNet, conditioning: Conditioning) -> tuple[Tensor, ...]:
    like = next(unet.parameters())
    return tuple(cond.embedding.to(like) for cond in conditioning.conds)


def _groups(embeddings: Sequence[Tensor]) -> list[list[Tensor]]:
    """Embeddings that go together: all of them, unless repeating to a common length costs too much."""
    lengths = [embedding.shape[1] for embedding in embeddings]
    if math.lcm(*lengths) <= LONGEST_REPEAT * min(lengths):
        return [list(embeddings)]
    return [[embedding] for embedding in embeddings]
