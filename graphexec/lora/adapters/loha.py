"""LoHa: the elementwise product of two low-rank matrices (Yeh et al. 2023, https://arxiv.org/abs/2309.14859)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from graphexec.lora.adapters.base import Additive, Read, cp_product, product_shape, scale_of
from graphexec.lora.header import Shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Loha"]

FACTORS = frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"})


class Loha(Additive):
    """`alpha / rank * (w1_a @ w1_b) * (w2_a @ w2_b)`; with cores, each product is a Tucker decomposition."""

    __slots__ = ()
    NEEDS: ClassVar = (FACTORS,)
    TAKES: ClassVar = frozenset({"hada_t1", "hada_t2", "alpha"})

    @property
    def rank(self) -> int:
        """Rows of `w1_b`."""
        return self.length("hada_w1_b", 0)

    @property
    def shape(self) -> Shape | None:
        """(out, in, kernel) or (out, in * kernel), None if the factors do not fit each other."""
        shapes = {self._half(1), self._half(2)}
        return shapes.pop() if len(shapes) == 1 else None

    def fits(self, shape: Shape) -> bool:
        """A matrix is for the weight with its kernel flattened."""
        mine = self.shape
        flat = (shape[0], math.prod(shape[1:])) if mine is not None and len(mine) == 2 else shape
        return mine == flat

    def delta(self, weight: Tensor, read: Read) -> Tensor:
        """The product of both halves."""
        return (self._product(1, weight, read) * self._product(2, weight, read)).mul_(scale_of(self, self.rank, read))

    def _half(self, which: int) -> Shape | None:
        core = self.parts.get(f"hada_t{which}")
        return product_shape(self.size(f"hada_w{which}_a"), self.size(f"hada_w{which}_b"), core and core.shape)

    def _product(self, which: int, weight: Tensor, read: Read) -> Tensor:
        a, b = (self.get(f"hada_w{which}_{side}", read, weight) for side in "ab")
        return cp_product(self.get(f"hada_t{which}", read, weight), a, b) if f"hada_t{which}" in self.parts else a @ b
