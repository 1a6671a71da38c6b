"""What every trainable adapter is: a few parameters that change what a frozen layer gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphexec.train.faults import TrainingError
from graphexec.train.network.dropout import Dropout

__all__ = ["Layer", "Materialised", "TrainedAdapter", "applied"]

Layer = nn.Linear | nn.Conv2d


class TrainedAdapter(nn.Module, ABC):
    """A change of one layer's weight, trained in float32 and computed in the layer's precision.

    Factors have the shapes that they have in the file.
    """

    FILE: ClassVar[Mapping[str, str]] = {}
    """From each factor to the end of its tensor's name."""
    UP: ClassVar[tuple[str, ...]] = ()
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

    @property
    def names(self) -> Mapping[str, str]:
        """From each factor to the end of its tensor's name in the file."""
        return self.FILE

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
        return {name: self.get_parameter(name) for name in self.names}

    def tensors(self) -> dict[str, Tensor]:
        """What stands in the file, by the ends of the names."""
        found: dict[str, Tensor] = {self.names[name]: factor.detach() for name, factor in self.factors().items()}
        return {"alpha": torch.tensor(self.alpha), **found}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        self.alpha = float(tensors["alpha"])
        for name, factor in self.factors().items():
            factor.copy_(tensors[self.names[name]])

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


class Materialised(TrainedAdapter):
    """An adapter whose change is made as a weight before it is applied.

    It is applied apart from the frozen weight, beside which half precision would round it away.
    """

    def __init__(self, layer: Layer, rank: int, alpha: float, dropout: Dropout) -> None:
        super().__init__(layer, rank, alpha, dropout)
        if dropout.rates.neuron:
            raise TrainingError(
                "dropout is of what comes out of LoRA's down factor; LoHa and LoKr have none: use rank_dropout or"
                " module_dropout"
            )

    def changed(self, layer: Layer, x: Tensor, out: Tensor) -> Tensor:
        """The layer with the change as its weight, added to what the frozen layer gives."""
        delta = self.delta()
        if self.training:
            delta = self.dropout.rows(delta)
        return out + applied(layer, x.to(out.dtype), delta.to(out.dtype))


def applied(layer: Layer, x: Tensor, weight: Tensor) -> Tensor:
    """What a layer would give with another weight and no bias."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight)
    return F.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation)
