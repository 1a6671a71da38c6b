"""LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685) and LoCon (Yeh et al. 2023), trained."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphexec.train.network.base import Layer, TrainedAdapter, applied
from graphexec.train.network.dropout import Dropout

__all__ = ["TrainedLora"]


class TrainedLora(TrainedAdapter):
    """`alpha / rank * up @ down`; of a convolution, one of its kernel to `rank` channels, and one of kernel 1."""

    FILE: ClassVar = {"down": "lora_down.weight", "up": "lora_up.weight"}
    UP: ClassVar = ("up",)

    def __init__(self, layer: Layer, rank: int, alpha: float, dropout: Dropout) -> None:
        super().__init__(layer, rank, alpha, dropout)
        out, in_, *kernel = self.shape
        self.down = nn.Parameter(torch.empty(rank, in_, *kernel))
        self.up = nn.Parameter(torch.empty(out, rank, *[1] * len(kernel)))

    def start(self, generator: torch.Generator) -> None:
        """Down as torch starts a layer, up zero."""
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.up)

    def changed(self, layer: Layer, x: Tensor, out: Tensor) -> Tensor:
        """Both factors one after the other, without the weight that they make."""
        down, up = self.down.to(out.dtype), self.up.to(out.dtype)
        hidden = applied(layer, x.to(out.dtype), down)
        if self.training:
            hidden = self.dropout.ranks(self.dropout.neurons(hidden), -1 if up.ndim == 2 else 1)
        if up.ndim == 4:
            return out + F.conv2d(hidden, up) * self.scale
        rows = torch.addmm(out.flatten(0, -2), hidden.flatten(0, -2), up.t(), alpha=self.scale)
        return rows.view(out.shape)

    def delta(self) -> Tensor:
        """The product of the factors."""
        return (self.up.flatten(1) @ self.down.flatten(1) * self.scale).view(self.shape)

    def norm(self) -> Tensor:
        """From the factors' small Gram matrices."""
        up, down = self.up.flatten(1), self.down.flatten(1)
        return ((up.t() @ up) * (down @ down.t())).sum().clamp_min(0).sqrt() * self.scale

    def overlaps(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """From products no larger than the factors."""
        up, down = self.up.flatten(1), self.down.flatten(1)
        across = weight.flatten(1) @ down.to(weight.dtype).t()
        cross = (across.to(up.dtype) * up).sum(1) * self.scale
        return cross, ((up @ (down @ down.t())) * up).sum(1) * self.scale**2
