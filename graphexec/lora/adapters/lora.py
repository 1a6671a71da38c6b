"""LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685) and LoCon, with or without a core tensor (`lora_mid`).

LoCon: Yeh et al. 2023, https://arxiv.org/abs/2309.14859.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from graphexec.lora.adapters.base import Additive, Product, Read, add_products, scale_of
from graphexec.lora.header import Shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Lora"]


class Lora(Additive):
    """`alpha / rank * up @ down`; of a convolution, two or (with a core) three convolutions in a row."""

    __slots__ = ()
    NEEDS: ClassVar = (frozenset({"up", "down"}),)
    TAKES: ClassVar = frozenset({"mid", "alpha"})

    @property
    def rank(self) -> int:
        """Rows of the down factor."""
        return self.length("down", 0)

    @property
    def shape(self) -> Shape | None:
        """(out, in, kernel), None if the factors do not fit each other."""
        up, down, core = self.size("up"), self.size("down"), self.parts.get("mid")
        if min(len(up), len(down)) < 2 or up[1] != down[0] or math.prod(up[2:]) != 1:
            return None
        if core is None:
            return (up[0], down[1], *down[2:])
        mid = core.shape
        if len(mid) < 3 or mid[:2] != (down[0], down[0]) or math.prod(down[2:]) != 1:
            return None
        return (up[0], down[1], *mid[2:])

    def delta(self, weight: Tensor, read: Read) -> Tensor:
        """The product of the factors."""
        up, down = self._factors(weight, read)
        return (up @ down).mul_(scale_of(self, self.rank, read))

    def change(self, weight: Tensor, strength: float, read: Read) -> Tensor:
        """The weight with the product added to it in one pass."""
        add_products(weight, [self.product(weight, strength, read)])
        return weight

    def product(self, weight: Tensor, strength: float, read: Read) -> Product:
        """The factors as matrices."""
        return Product(*self._factors(weight, read), strength * scale_of(self, self.rank, read))

    def _factors(self, weight: Tensor, read: Read) -> tuple[Tensor, Tensor]:
        up, down = (self.get(part, read, weight).flatten(1) for part in ("up", "down"))
        if "mid" in self.parts:
            mid = self.get("mid", read, weight)
            down = (mid.flatten(2).transpose(1, 2) @ down).transpose(1, 2).flatten(1)
        return up, down
