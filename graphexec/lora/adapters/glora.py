"""GLoRA: a low-rank change that reads the weight itself (Chavan et al. 2023, https://arxiv.org/abs/2306.07967)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from graphexec.lora.adapters.base import Additive, Read, scale_of
from graphexec.lora.header import Shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Glora"]


class Glora(Additive):
    """`alpha / rank * (b1 @ b2 + W @ a1 @ a2)`; old files have the factors of each product swapped.

    Where every factor is square both readings fit, and the file is taken for a new one.
    """

    __slots__ = ()
    NEEDS: ClassVar = (frozenset({"a1", "a2", "b1", "b2"}),)
    TAKES: ClassVar = frozenset({"bm", "alpha"})

    @property
    def rank(self) -> int:
        """Columns of the factor that is as high as the weight."""
        return self.length(self._order()[0], 1)

    @property
    def shape(self) -> Shape | None:
        """(out, in, kernel), None if the factors do not fit each other."""
        b_left, b_right, a_left, a_right = sides = [self.size(part) for part in self._order()]
        core = self.parts.get("bm")
        flat = sides if core else (b_left, a_left, a_right)
        if min(map(len, sides)) < 2 or any(math.prod(side[2:]) != 1 for side in flat):
            return None
        rank, columns = b_left[1], b_right[1]
        inner = (b_right[0], a_left[0], a_left[1], a_right[0], a_right[1])
        if inner != (rank, columns, rank, rank, columns):
            return None
        if core and (len(core.shape) < 3 or core.shape[:2] != (rank, rank)):
            return None
        return (b_left[0], columns, *(core.shape if core else b_right)[2:])

    def delta(self, weight: Tensor, read: Read) -> Tensor:
        """Both products together."""
        import torch

        b_left, b_right, a_left, a_right = (self.get(part, read, weight).flatten(1) for part in self._order())
        if "bm" in self.parts:
            core = self.get("bm", read, weight)
            b_right = (core.flatten(2).transpose(1, 2) @ b_right).transpose(1, 2).flatten(1)
        moved = torch.einsum("o i ..., i r, r j -> o j ...", weight, a_left, a_right)
        return ((b_left @ b_right).reshape(weight.shape) + moved).mul_(scale_of(self, self.rank, read))

    def _order(self) -> tuple[str, str, str, str]:
        """Left and right factor of the product that is added, then of the product that W is multiplied by."""
        a1, a2, b1, b2 = (self.size(part) for part in ("a1", "a2", "b1", "b2"))
        new = a1[1:2] == a2[:1] == b1[1:2] == b2[:1]
        return ("b1", "b2", "a1", "a2") if new else ("b2", "b1", "a2", "a1")
