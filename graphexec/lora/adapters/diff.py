"""Whole differences of weights, biases and norms, and whole weights that replace those of the model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from graphexec.lora.adapters.base import Adapter, Additive, Read
from graphexec.lora.header import Shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BiasDiff", "Diff", "SetWeight"]


def _same(mine: Shape, shape: Shape) -> bool:
    """Whether the shapes are equal, or differ only by the axes of a 1x1 kernel."""
    longer, shorter = sorted((mine, shape), key=len, reverse=True)
    return longer[: len(shorter)] == shorter and math.prod(longer[len(shorter) :]) == 1


class Diff(Additive):
    """What is added to a weight: `.diff` of linears and convolutions, `.w_norm` of norms."""

    __slots__ = ()
    NEEDS: ClassVar = (frozenset({"diff"}), frozenset({"w_norm"}))

    @property
    def shape(self) -> Shape:
        """The shape of the difference."""
        return next(iter(self.parts.values())).shape

    def fits(self, shape: Shape) -> bool:
        """A difference is as large as its weight."""
        return _same(self.shape, shape)

    def delta(self, weight: Tensor, read: Read) -> Tensor:
        """The difference."""
        return self.get(next(iter(self.parts)), read, weight)


class BiasDiff(Diff):
    """What is added to a bias: `.diff_b` of linears and convolutions, `.b_norm` of norms."""

    __slots__ = ()
    NEEDS: ClassVar = (frozenset({"diff_b"}), frozenset({"b_norm"}))


class SetWeight(Adapter):
    """A weight that takes the place of the model's, whatever the strength."""

    __slots__ = ()
    NEEDS: ClassVar = (frozenset({"set_weight"}),)

    @property
    def shape(self) -> Shape:
        """The shape of the weight."""
        return self.size("set_weight")

    def fits(self, shape: Shape) -> bool:
        """The new weight is as large as the old."""
        return _same(self.shape, shape)

    def change(self, weight: Tensor, strength: float, read: Read) -> Tensor:
        """The weight of the file."""
        return weight.copy_(self.get("set_weight", read, weight).reshape(weight.shape))
