"""Noise. It is always drawn on the CPU, so that a seed means the same on every device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["NoiseSource", "initial_noise"]

SEEDS = 1 << 64


def initial_noise(latent: Tensor, seed: int, batch_index: Sequence[int] | None = None) -> Tensor:
    """Noise like `latent` [B, ...], in its dtype; with `batch_index`, each item draws that of its place in a batch."""
    generator = _generator(seed)
    if batch_index is None:
        return _draw(latent.shape, latent.dtype, generator)
    one = (1, *latent.shape[1:])
    drawn = [_draw(one, latent.dtype, generator) for _ in range(max(batch_index) + 1)]
    return torch.cat([drawn[i] for i in batch_index])


class NoiseSource:
    """Fresh noise for samplers that add some on the way; its first draw equals the initial noise of the seed."""

    def __init__(self, like: Tensor, seed: int) -> None:
        self._like = like
        self._generator = _generator(seed)

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """Noise for the step from `sigma` to `sigma_next`."""
        return _draw(self._like.shape, self._like.dtype, self._generator).to(self._like.device)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed % SEEDS)


def _draw(shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    return torch.randn(tuple(shape), dtype=dtype, generator=generator, device="cpu")
