"""Noise. It is always drawn on the CPU, so that a seed means the same on every device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from graphexec.diffusion.memory import sent

__all__ = ["SeededNoise", "initial_noise"]

SEEDS = 1 << 64


def initial_noise(latent: Tensor, seed: int, batch_index: Sequence[int] | None = None) -> Tensor:
    """Noise like `latent` [B, ...], in its dtype; with `batch_index`, each item draws that of its place in a batch."""
    generator = _generator(seed)
    if batch_index is None:
        return _draw(latent.shape, latent.dtype, generator)
    one = (1, *latent.shape[1:])
    drawn = [_draw(one, latent.dtype, generator) for _ in range(max(batch_index) + 1)]
    return torch.cat([drawn[i] for i in batch_index])


@dataclass(frozen=True, slots=True)
class SeededNoise:
    """Noise for samplers that add some on the way, in the shape and dtype and on the device of `like`."""

    like: Tensor
    seed: int

    def independent(self) -> Callable[[float, float], Tensor]:
        """Draws of one generator; the first equals the initial noise of the seed."""
        generator = _generator(self.seed)
        return lambda sigma, after: sent(_draw(self.like.shape, self.like.dtype, generator), self.like.device)

    def continued(self) -> Callable[[Tensor], Tensor]:
        """Draws in the shape of what is given, going on where the initial noise ended."""
        generator = _generator(self.seed)
        _draw(self.like.shape, self.like.dtype, generator)
        return lambda like: sent(_draw(like.shape, like.dtype, generator), like.device)

    def brownian(self, sigmas: Sequence[float]) -> Callable[[float, float], Tensor]:
        """Increments of one Brownian path over the levels above 0, for the batch as a whole."""
        import torchsde  # pyright: ignore[reportMissingTypeStubs]

        low, high = min(sigma for sigma in sigmas if sigma > 0), max(sigmas)
        start = torch.zeros(self.like.shape, dtype=self.like.dtype)
        tree = torchsde.BrownianTree(low, start, high, entropy=self.seed % SEEDS)

        begin, end = round(low, 6), round(high, 6)  # As the tree rounds its ends.

        def increment(sigma: float, after: float) -> Tensor:
            first, last = sorted((sigma, after))
            moved = cast(Tensor, tree(max(first, begin), min(last, end)))
            width = torch.tensor(last) - torch.tensor(first)
            return sent(math.copysign(1.0, after - sigma) * moved / width.sqrt(), self.like.device)

        return increment


def _generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed % SEEDS)


def _draw(shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    return torch.randn(tuple(shape), dtype=dtype, generator=generator, device="cpu")
