"""LoKr: a Kronecker product of two smaller matrices (Yeh et al. 2023, https://arxiv.org/abs/2309.14859)."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, ClassVar

from graphexec.lora.adapters.base import Additive, Read, cp_product, product_shape, scale_of
from graphexec.lora.header import Shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Lokr"]

FIRST = (frozenset({"lokr_w1"}), frozenset({"lokr_w1_a", "lokr_w1_b"}))
SECOND = (frozenset({"lokr_w2"}), frozenset({"lokr_w2_a", "lokr_w2_b"}))


class Lokr(Additive):
    """`scale * kron(w1, w2)`, each whole or a product of factors; `w2` of a convolution may have a core.

    The scale is alpha over the rank of the decomposed factor, of `w2` if both are; whole factors have no scale.
    """

    __slots__ = ()
    NEEDS: ClassVar = tuple(first | second for first, second in product(FIRST, SECOND))
    TAKES: ClassVar = frozenset({"lokr_t2", "alpha"})

    @property
    def rank(self) -> int | None:
        """Rank of `w2`'s factors, else of `w1`'s; None if both are whole."""
        return next((size[0] for part in ("lokr_w2_b", "lokr_w1_b") if (size := self.size(part))), None)

    @property
    def shape(self) -> Shape | None:
        """(out, in, kernel) or (out, in * kernel), None if the factors do not fit each other."""
        first, second = self._factor(1), self._factor(2)
        if first is None or second is None or len(first) != 2:
            return None
        return (first[0] * second[0], first[1] * second[1], *second[2:])

    def fits(self, shape: Shape) -> bool:
        """Factors without a kernel are for the weight with its kernel flattened."""
        mine, first = self.shape, self._factor(1)
        if mine is None or first is None or mine[:1] != shape[:1] or math.prod(mine) != math.prod(shape):
            return False
        return len(shape) > 1 and (shape[1] % first[1] == 0 if len(mine) == 2 else mine[1] == shape[1])

    def delta(self, weight: Tensor, read: Read) -> Tensor:
        """The Kronecker product."""
        import torch

        first = self._product(1, weight, read)
        second = self._product(2, weight, read)
        if second.ndim == 2 and weight.ndim == 4:
            second = second.reshape(len(second), weight.shape[1] // first.shape[1], *weight.shape[2:])
        first = first.reshape(*first.shape, *[1] * (second.ndim - 2))
        return torch.kron(first, second.contiguous()).mul_(self._scale(read))

    def _scale(self, read: Read) -> float:
        if self.rank is not None:
            return scale_of(self, self.rank, read)
        # PEFT scales whole factors too, by the rank of its configuration.
        alpha, rank = self.settings.get("alpha"), self.settings.get("r")
        return float(alpha) / float(rank) if alpha is not None and rank else 1.0

    def _factor(self, which: int) -> Shape | None:
        whole, a, b = (self.size(f"lokr_w{which}{side}") for side in ("", "_a", "_b"))
        if whole:
            return whole if len(whole) in (2, 4) else None
        core = self.parts.get("lokr_t2") if which == 2 else None
        return product_shape(a, b, core and core.shape)

    def _product(self, which: int, weight: Tensor, read: Read) -> Tensor:
        if f"lokr_w{which}" in self.parts:
            return self.get(f"lokr_w{which}", read, weight)
        a, b = (self.get(f"lokr_w{which}_{side}", read, weight) for side in "ab")
        return cp_product(self.get("lokr_t2", read, weight), a, b) if which == 2 and "lokr_t2" in self.parts else a @ b
