"""LoHa (Yeh et al. 2023, https://arxiv.org/abs/2309.14859), trained."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from graphexec.train.network.base import Layer, Materialised
from graphexec.train.network.dropout import Dropout

__all__ = ["TrainedLoha"]


class TrainedLoha(Materialised):
    """`alpha / rank * (w1_a @ w1_b) * (w2_a @ w2_b)`, of a convolution with its kernel flattened."""

    FILE: ClassVar = {f"w{half}_{side}": f"hada_w{half}_{side}" for half in (1, 2) for side in "ab"}
    UP: ClassVar = ("w1_a", "w2_a")

    def __init__(self, layer: Layer, rank: int, alpha: float, dropout: Dropout) -> None:
        super().__init__(layer, rank, alpha, dropout)
        out, columns = self.shape[0], math.prod(self.shape[1:])
        self.w1_a, self.w2_a = (nn.Parameter(torch.empty(out, rank)) for _ in range(2))
        self.w1_b, self.w2_b = (nn.Parameter(torch.empty(rank, columns)) for _ in range(2))

    def start(self, generator: torch.Generator) -> None:
        """As LyCORIS: all random, one factor zero."""
        for factor, std in ((self.w1_b, 1.0), (self.w1_a, 0.1), (self.w2_b, 1.0)):
            nn.init.normal_(factor, std=std, generator=generator)
        nn.init.zeros_(self.w2_a)

    def delta(self) -> Tensor:
        """The product of both halves."""
        return ((self.w1_a @ self.w1_b) * (self.w2_a @ self.w2_b) * self.scale).view(self.shape)
