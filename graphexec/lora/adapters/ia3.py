"""IA3: rows or columns of a weight are rescaled (Liu et al. 2022, https://arxiv.org/abs/2205.05638)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from graphexec.lora.adapters.base import Adapter, Read
from graphexec.lora.header import Shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Ia3", "PeftIa3", "PeftIa3Bias"]


class Ia3(Adapter):
    """LyCORIS' IA3: `W * (1 + strength * w)`, `w` along the rows or columns that it has as many elements as.

    Where these are equally many `on_input` says whether it is the columns.
    """

    __slots__ = ()
    NEEDS: ClassVar = (frozenset({"ia3"}),)
    TAKES: ClassVar = frozenset({"on_input"})

    def fits(self, shape: Shape) -> bool:
        """One element a row or a column, and one flag at most."""
        return math.prod(self.size("ia3")) in shape[:2] and math.prod(self.size("on_input")) == 1

    def change(self, weight: Tensor, strength: float, read: Read) -> Tensor:
        """The rescaled weight."""
        axis = self._axis(tuple(weight.shape), read)
        view = [-1 if i == axis else 1 for i in range(weight.ndim)]
        return weight * (1.0 + strength * self.get("ia3", read, weight).reshape(view))

    def _axis(self, shape: Shape, read: Read) -> int:
        length = math.prod(self.size("ia3"))
        if shape[:2] != (length, length):
            return shape.index(length)
        return int("on_input" in self.parts and bool(read(self.parts["on_input"].tensor)))


class PeftIa3(Adapter):
    """PEFT's IA3: `W * l`, of which the strength takes a part: `W * (1 + strength * (l - 1))`.

    `l` is (out, 1) for rows, (1, in) for columns; of a convolution (1, out, 1, 1) or (1, in, 1, 1).
    """

    __slots__ = ()
    NEEDS: ClassVar = (frozenset({"ia3_l"}),)

    def fits(self, shape: Shape) -> bool:
        """One element a row or a column."""
        return math.prod(self.size("ia3_l")) == shape[self.axis(shape)]

    def axis(self, shape: Shape) -> int:
        """0 for rows, 1 for columns."""
        mine = self.size("ia3_l")
        rows = shape if len(mine) == 4 else mine
        return 0 if rows[:1] == (math.prod(mine),) or len(shape) == 1 else 1

    def change(self, weight: Tensor, strength: float, read: Read) -> Tensor:
        """The rescaled weight."""
        view = [-1 if i == self.axis(tuple(weight.shape)) else 1 for i in range(weight.ndim)]
        return weight * (1.0 + strength * (self.get("ia3_l", read, weight).reshape(view) - 1.0))


class PeftIa3Bias(PeftIa3):
    """What PEFT's IA3 does to the bias of a layer whose rows it rescales."""

    __slots__ = ()

    def fits(self, shape: Shape) -> bool:
        """One element a row, and rows are what it rescales."""
        mine = self.size("ia3_l")
        return len(shape) == 1 and math.prod(mine) == shape[0] and (len(mine) == 4 or mine[:1] == shape)
