"""Gaussian blur and sharpening; pixels beyond the edges mirror those inside."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["blur", "filtered", "gaussian_kernel", "reflected", "sharpen", "sharpening_kernel"]

SHARPENING = 10.0
"""ComfyUI's `alpha` counts tenths."""


def blur(picture: Tensor, radius: int, sigma: float) -> Tensor:
    """Pictures [B,H,W,C] blurred by a Gaussian over 2 radius + 1 pixels; sigma in radii."""
    return filtered(picture.movedim(-1, 1), gaussian_kernel(2 * radius + 1, sigma)).movedim(1, -1)


def sharpen(picture: Tensor, radius: int, sigma: float, alpha: float) -> Tensor:
    """Pictures [B,H,W,C] with their difference to a blurred copy added, cut off at 0 and 1."""
    return filtered(picture.movedim(-1, 1), sharpening_kernel(radius, sigma, alpha)).movedim(1, -1).clamp(0, 1)


def gaussian_kernel(size: int, sigma: float) -> Tensor:
    """[size, size] weights that add up to 1; the kernel reaches from -1 to 1, sigma is in the same unit."""
    reach = torch.linspace(-1, 1, size)
    distance = torch.sqrt(reach[:, None] * reach[:, None] + reach * reach)
    weights = torch.exp(-(distance * distance) / (2.0 * sigma * sigma))
    return weights / weights.sum()


def sharpening_kernel(radius: int, sigma: float, alpha: float) -> Tensor:
    """A kernel that subtracts a Gaussian and still adds up to 1."""
    kernel = gaussian_kernel(2 * radius + 1, sigma) * -(alpha * SHARPENING)
    kernel[radius, radius] = kernel[radius, radius] - kernel.sum() + 1.0
    return kernel


def filtered(samples: Tensor, kernel: Tensor) -> Tensor:
    """[B,C,H,W] convolved with one square kernel of odd size, in the dtype of the samples."""
    channels, radius = samples.shape[1], kernel.shape[-1] // 2
    weights = kernel.to(samples).repeat(channels, 1, 1)[:, None]
    return F.conv2d(reflected(samples, radius), weights, groups=channels)


def reflected(samples: Tensor, radius: int) -> Tensor:
    """[...,H,W] extended by `radius` on all sides, mirrored at its first and last cells as often as it takes."""
    rows, columns = (_mirror(side, radius, samples.device) for side in samples.shape[-2:])
    return samples.index_select(-2, rows).index_select(-1, columns)


def _mirror(length: int, radius: int, device: torch.device) -> Tensor:
    period = max(2 * (length - 1), 1)
    places = torch.arange(-radius, length + radius, device=device) % period
    return torch.minimum(places, period - places) if length > 1 else torch.zeros_like(places)
