"""What every trainable adapter is: a few parameters that change what a frozen layer gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphexec.train.network.dropout import Dropout

__all__ = ["Layer", "TrainedAdapter", "applied"]

Layer = nn.Linear | nn.Conv2d


class TrainedAdapter(nn.Module, ABC):
    """A change of one layer's weight, trained in float32 and computed in the layer's precision.

    Parameters are named in `FILE` as the file names them, in the shapes that it has them in.
    """

    FILE: ClassVar[Mapping[str, str]]
    """From each factor to the end of its tensor's name."""
    UP: ClassVar[tuple[str, ...]]
    """The factors on the side of the output, whose learning rate LoRA+ multiplies."""

    def __init__(self, layer: Layer, rank: int, alpha: float, dropout: Dropout) -> None:
        super().__init__()
        self.shape = tuple(layer.weight.shape)
        self.rank = rank
        self.alpha = alpha or float(rank)  # as in sd-scripts, an alpha of 0 means that nothing is scaled
        self.dropout = dropout

    @property
    def scale(self) -> float:
        """What the product of the factors is multiplied by."""
        return self.alpha / self.rank

    def forward(self, layer: Layer, x: Tensor, out: Tensor) -> Tensor:
        """What the changed layer gives for `x`, where `out` is what the frozen one gives."""
        if self.training and self.dropout.skips():
            return out
        return self.changed(layer, x, out)

    @abstractmethod
    def start(self, generator: torch.Generator) -> None:
        """Give the factors their first values: a random change of zero."""

    @abstractmethod
    def changed(self, layer: Layer, x: Tensor, out: Tensor) -> Tensor:
        """As `forward`, for a module that is not left out."""

    @abstractmethod
    def delta(self) -> Tensor:
        """What is added to the weight, in its shape."""

    def factors(self) -> dict[str, nn.Parameter]:
        """The parameters whose product is the change, by name."""
        return {name: self.get_parameter(name) for name in self.FILE}

    def tensors(self) -> dict[str, Tensor]:
        """What stands in the file, by the ends of the names."""
        found: dict[str, Tensor] = {self.FILE[name]: factor.detach() for name, factor in self.factors().items()}
        return {"alpha": torch.tensor(self.alpha), **found}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        self.alpha = float(tensors["alpha"])
        for name, factor in self.factors().items():
            factor.copy_(tensors[self.FILE[name]])

    def is_up(self, parameter: str) -> bool:
        """Whether LoRA+ multiplies the learning rate of a parameter."""
        return parameter in self.UP

    @torch.no_grad()
    def scale_by(self, ratio: Tensor) -> None:
        """Multiply the change, each factor by the same."""
        factors = self.factors().values()
        for factor in factors:
            factor.mul_(ratio ** (1 / len(factors)))

    def norm(self) -> Tensor:
        """The Frobenius norm of the change."""
        return self.delta().norm()

    def overlaps(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Of each row of the change, the product with the row of a weight, and the square."""
        delta = self.delta().flatten(1)
        return (weight.flatten(1) * delta).sum(1), delta.square().sum(1)


def applied(layer: Layer, x: Tensor, weight: Tensor) -> Tensor:
    """What a layer would give with another weight and no bias."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight)
    return F.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation)
