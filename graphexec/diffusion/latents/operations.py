"""Operations that are handed on as values, to be applied to latents or to what a sampler predicts."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from graphexec.diffusion.latents.kinds import LatentOperation, Sharpen, TonemapReinhard
from graphexec.diffusion.types import Latent

__all__ = ["apply_operation", "operated"]

DEVIATIONS = 5
"""Lengths of this many standard deviations above the mean are the brightest that Reinhard's curve knows."""


def apply_operation(latent: Latent, operation: LatentOperation) -> Latent:
    """Latents after an operation."""
    return replace(latent, samples=operated(latent.samples, operation))


def operated(samples: Tensor, operation: LatentOperation) -> Tensor:
    """Samples [B,C,h,w] after an operation."""
    if isinstance(operation, TonemapReinhard):
        return _tonemapped(samples, operation.multiplier)
    if isinstance(operation, Sharpen):
        return _sharpened(samples, operation)
    raise TypeError(f"{type(operation).__name__} is no operation on latents that is known here")


def _tonemapped(samples: Tensor, multiplier: float) -> Tensor:
    """Lengths of the cells' channels through Reinhard's curve, x/(1+x) of the brightest length.

    A multiplier of 0, where ComfyUI divides by zero, is the limit: zeros.
    """
    if multiplier == 0:
        return torch.zeros_like(samples)
    length = torch.linalg.vector_norm(samples, dim=1, keepdim=True) + 1e-10
    direction = samples / length
    mean = length.mean(dim=(1, 2, 3), keepdim=True)
    one_cell = length[0].numel() == 1  # of which there is no deviation
    deviation = torch.zeros_like(mean) if one_cell else length.std(dim=(1, 2, 3), keepdim=True)
    brightest = (deviation * DEVIATIONS + mean) * multiplier
    scaled = length * (1.0 / brightest)
    return direction * (scaled / (scaled + 1.0) * brightest)


def _sharpened(samples: Tensor, how: Sharpen) -> Tensor:
    """Directions of the cells' channels less a Gaussian blur of them, lengths as they were.

    The edges are mirrored, over and over where the radius is larger than the latents (ComfyUI fails there).
    """
    length = torch.linalg.vector_norm(samples, dim=1, keepdim=True) + 1e-6
    direction = samples / length
    kernel = _gaussian(how.radius * 2 + 1, how.sigma, samples.device).to(samples) * -(how.alpha * 10)
    kernel[how.radius, how.radius] = kernel[how.radius, how.radius] - kernel.sum() + 1.0
    channels = samples.shape[1]
    padded = _mirrored(_mirrored(direction, -1, how.radius), -2, how.radius)
    return length * F.conv2d(padded, kernel.expand(channels, 1, *kernel.shape), groups=channels)


def _gaussian(size: int, sigma: float, device: torch.device) -> Tensor:
    """A Gaussian over -1..1 on both sides, with the sum 1."""
    line = torch.linspace(-1, 1, size, device=device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    bell = torch.exp(-(torch.sqrt(x * x + y * y) ** 2) / (2.0 * sigma * sigma))
    return bell / bell.sum()


def _mirrored(samples: Tensor, dim: int, radius: int) -> Tensor:
    """Samples with `radius` cells more at both ends, mirrored without repeating the edge."""
    side = samples.shape[dim]
    period = max(2 * (side - 1), 1)
    place = torch.arange(-radius, side + radius, device=samples.device) % period
    return samples.index_select(dim, torch.minimum(place, period - place) if side > 1 else place)
