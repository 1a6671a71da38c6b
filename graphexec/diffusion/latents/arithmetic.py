"""Sums and mixtures of latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.batches import repeat_to
from graphexec.diffusion.imaging.resize import upscale
from graphexec.diffusion.latents.lengths import blended_length
from graphexec.diffusion.types import Latent

__all__ = ["add", "blend", "fitted", "interpolate", "multiply", "same_channels", "subtract"]


def add(first: Latent, second: Latent) -> Latent:
    """The sum; the second has the first's size and batch made for it, as in all operations here."""
    return _combined(first, second, torch.add)


def subtract(first: Latent, second: Latent) -> Latent:
    """The first less the second."""
    return _combined(first, second, torch.sub)


def multiply(latent: Latent, multiplier: float) -> Latent:
    """Every value times a number."""
    return replace(latent, samples=latent.samples * multiplier)


def interpolate(first: Latent, second: Latent, ratio: float) -> Latent:
    """`ratio` of the first and the rest of the second: directions and lengths of a cell's channels each for itself."""

    def mixed(a: Tensor, b: Tensor) -> Tensor:
        direction, _ = _polar(_polar(a)[0] * ratio + _polar(b)[0] * (1.0 - ratio))
        return direction * (_polar(a)[1] * ratio + _polar(b)[1] * (1.0 - ratio))

    return _combined(first, second, mixed)


def blend(first: Latent, second: Latent, factor: float) -> Latent:
    """`factor` of the first and the rest of the second, which is resampled (bicubic) and cropped to the first's size.

    Raises `LatentError` where neither batch is a single item and they differ.
    """
    a, b = first.samples, second.samples
    same_channels(a, b)
    blended_length(len(a), len(b))
    if a.shape != b.shape:
        b = upscale(b, a.shape[-1], a.shape[-2], "bicubic", "center")
    return replace(first, samples=a * factor + b * (1 - factor))


def fitted(samples: Tensor, like: Tensor) -> Tensor:
    """Samples resampled (bilinear) and cropped to the size of `like`; `LatentError` if the channels differ."""
    same_channels(like, samples)
    if samples.shape[1:] == like.shape[1:]:
        return samples
    return upscale(samples, like.shape[-1], like.shape[-2], "bilinear", "center")


def same_channels(first: Tensor, second: Tensor) -> None:
    """`LatentError` unless both are [B,C,h,w] with as many channels."""
    if first.ndim != 4 or second.ndim != 4 or first.shape[1] != second.shape[1]:
        raise LatentError(
            f"latents {tuple(first.shape)} and {tuple(second.shape)} do not go together: the channels (the second"
            " number) must be as many, as those of models of one family are"
        )


def _combined(first: Latent, second: Latent, combine: Callable[[Tensor, Tensor], Tensor]) -> Latent:
    other = repeat_to(fitted(second.samples, first.samples), len(first.samples))
    return replace(first, samples=combine(first.samples, other))


def _polar(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Direction and length of each cell's channels; a cell of zeros has no direction, but zeros."""
    length = torch.linalg.vector_norm(samples, dim=1, keepdim=True)
    return torch.nan_to_num(samples / length), length
