"""What a model is trained to see through: noise, timesteps and noisy latents."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.types import Sampling
from graphexec.train.config import Noise

__all__ = ["Levels", "Noised", "Target", "add_noise", "at_each", "draw_noised", "target_of"]

Target = Literal["eps", "v"]


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """What the timesteps stand for: parts of the picture (`signal`) and of noise, and their ratio squared (`snr`).

    All float32 [1000], on one device.
    """

    signal: Tensor
    noise: Tensor
    snr: Tensor
    lowest_snr: Tensor
    """The lowest that is not nothing, []."""

    @classmethod
    def of(cls, *, zero_terminal_snr: bool = False, device: torch.device | str = "cpu") -> Levels:
        """Latent diffusion's levels; at will stretched so that the last holds noise alone (Lin et al. 2023).

        A sampler cannot begin where there is no signal, so that its table keeps a little; training goes all the way.
        """
        variance = model_sampling(Sampling(zero_snr=zero_terminal_snr)).sigmas.double() ** 2
        kept, snr = 1 / (1 + variance), 1 / variance
        if zero_terminal_snr:
            kept[-1] = snr[-1] = 0.0
        signal, noise = kept.sqrt(), (1 - kept).sqrt()
        lowest = snr[-2 if zero_terminal_snr else -1]
        return cls(*(values.to(device, torch.float32) for values in (signal, noise, snr, lowest)))


@dataclass(frozen=True, slots=True, eq=False)
class Noised:
    """Latents as the model sees them [B, C, h, w], the noise that it should find in them, the timesteps int64 [B]."""

    noisy: Tensor
    noise: Tensor
    timesteps: Tensor


def draw_noised(latents: Tensor, config: Noise, levels: Levels, generator: torch.Generator) -> Noised:
    """Noise for latents [B, C, h, w] (scaled, float32), all of it drawn from the generator, on its device.

    Numbers that the host needs are drawn from the generator's seed, so that nothing waits for a GPU.
    """
    host = random.Random(generator.initial_seed())
    noise = _offset(_normal(latents.shape, generator), latents, config, generator, host)
    if config.multires_iterations:
        noise = _multires(noise, config, generator, host)
    timesteps = torch.randint(
        config.min_timestep, config.max_timestep, latents.shape[:1], generator=generator, device=generator.device
    )
    seen = noise
    if config.input_perturbation:
        seen = noise + config.input_perturbation * _normal(latents.shape, generator)
    return Noised(add_noise(latents, seen, timesteps, levels), noise, timesteps)


def add_noise(latents: Tensor, noise: Tensor, timesteps: Tensor, levels: Levels) -> Tensor:
    """Latents [B, C, h, w] at their timesteps [B]: the forward process (Ho et al. 2020, equation 4)."""
    return at_each(levels.signal, timesteps) * latents + at_each(levels.noise, timesteps) * noise


def target_of(kind: Target, latents: Tensor, noised: Noised, levels: Levels) -> Tensor:
    """What the model should predict for latents [B, C, h, w]: the noise, or the velocity (Salimans and Ho 2022)."""
    if kind == "eps":
        return noised.noise
    signal, noise = (at_each(table, noised.timesteps) for table in (levels.signal, levels.noise))
    return signal * noised.noise - noise * latents


def _normal(shape: torch.Size | tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def at_each(table: Tensor, timesteps: Tensor) -> Tensor:
    """The entries of the timesteps, [B, 1, 1, 1]."""
    return table[timesteps][:, None, None, None]


def _offset(noise: Tensor, latents: Tensor, config: Noise, generator: torch.Generator, host: random.Random) -> Tensor:
    """Noise with one more shift for each channel (Guttenberg 2023), at will the stronger the farther from grey."""
    if not config.offset:
        return noise
    strength: Tensor | float = config.offset * (host.random() if config.offset_random else 1.0)
    if config.adaptive_scale:
        means = latents.mean(dim=(2, 3), keepdim=True).abs()
        strength = (strength + config.adaptive_scale * means).clamp(min=0)
    return noise + strength * _normal((*latents.shape[:2], 1, 1), generator)


def _multires(noise: Tensor, config: Noise, generator: torch.Generator, host: random.Random) -> Tensor:
    """Noise with coarser noise over it, each time weaker by the discount (Whitaker 2023), at unit deviation."""
    height, width = noise.shape[2:]
    for i in range(config.multires_iterations):
        ratio = host.uniform(2, 4) ** i
        rows, columns = max(1, int(height / ratio)), max(1, int(width / ratio))
        coarse = _normal((*noise.shape[:2], rows, columns), generator)
        noise = noise + F.interpolate(coarse, (height, width), mode="bilinear") * config.multires_discount**i
        if 1 in (rows, columns):
            break
    return noise / noise.std()
