"""LoKr (Yeh et al. 2023, https://arxiv.org/abs/2309.14859), trained."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from graphexec.train.network.base import Layer, Materialised
from graphexec.train.network.dropout import Dropout

__all__ = ["TrainedLokr", "factorized"]


def factorized(dimension: int, factor: int) -> tuple[int, int]:
    """Two numbers whose product is `dimension`, the smaller one first, as LyCORIS chooses them.

    The smaller is `factor` if that divides; else the largest divisor up to `factor` (-1: of any size) and the root.
    """
    if factor > 0 and dimension % factor == 0:
        return min(factor, dimension // factor), max(factor, dimension // factor)
    limit = min(math.isqrt(dimension), dimension if factor < 0 else factor)
    small = next(divisor for divisor in range(max(limit, 1), 0, -1) if dimension % divisor == 0)
    return small, dimension // small


class TrainedLokr(Materialised):
    """`alpha / rank * kron(w1, w2_a @ w2_b)`; `w2` is whole, without a scale, where the rank would save nothing.

    Of a convolution the larger factor has the kernel.
    """

    UP: ClassVar = ("w2", "w2_b")

    def __init__(self, layer: Layer, rank: int, alpha: float, dropout: Dropout, factor: int) -> None:
        super().__init__(layer, rank, alpha, dropout)
        out, in_, *kernel = self.shape
        (rows, self.rows), (columns, self.columns) = factorized(out, factor), factorized(in_, factor)
        self.w1 = nn.Parameter(torch.empty(rows, columns))
        if rank >= max(self.rows, self.columns) / 2:
            self.alpha = float(rank)  # what readers divide by the rank
            self.w2 = nn.Parameter(torch.empty(self.rows, self.columns, *kernel))
        else:
            self.w2_a = nn.Parameter(torch.empty(self.rows, rank))
            self.w2_b = nn.Parameter(torch.empty(rank, self.columns * math.prod(kernel)))

    @property
    def is_whole(self) -> bool:
        """Whether the second factor is one matrix."""
        return hasattr(self, "w2")

    @property
    def names(self) -> dict[str, str]:
        """Of the factors that there are."""
        return {name: f"lokr_{name}" for name in ("w1", *(("w2",) if self.is_whole else ("w2_a", "w2_b")))}

    def start(self, generator: torch.Generator) -> None:
        """As LyCORIS: `w1` and `w2_a` as torch starts a layer, the last factor zero."""
        *others, last = self.factors().values()
        for factor in others:
            nn.init.kaiming_uniform_(factor, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(last)

    def delta(self) -> Tensor:
        """The Kronecker product."""
        kernel = self.shape[2:]
        second = self.w2 if self.is_whole else (self.w2_a @ self.w2_b).view(self.rows, self.columns, *kernel)
        first = self.w1.view(*self.w1.shape, *[1] * len(kernel))
        return torch.kron(first, second.contiguous()) * self.scale

    def norm(self) -> Tensor:
        """The product of the factors' norms."""
        second = self.w2.norm() if self.is_whole else (self.w2_a @ self.w2_b).norm()
        return self.w1.norm() * second * self.scale
