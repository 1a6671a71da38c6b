"""DoRA: magnitude and direction of a weight apart (Liu et al. 2024, https://arxiv.org/abs/2402.09353)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from graphexec.lora.adapters.base import Adapter, Additive, Part, Read
from graphexec.lora.header import Shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Dora"]


@dataclass(frozen=True, slots=True)
class Dora(Adapter):
    """`W + strength * (m * V / |V| - W)` with `V = W + delta`, the norm being that of each row or each column.

    The shape of `m` says which: (out, 1, ...) or (out,) rows, (1, in, ...) columns. PEFT's is always by rows, and of a
    convolution (1, out, 1, 1). The strength is ComfyUI's: 0 gives the base, which LyCORIS and PEFT do not.
    """

    inner: Additive
    by_rows: bool | None = None
    """Known from the name (PEFT); None if the shape tells."""
    normed_by_base: bool = False

    @classmethod
    def over(cls, inner: Additive, part: str, magnitude: Part) -> Dora:
        """The adapter `inner`, with magnitudes."""
        by_rows = True if part == "magnitude" else None
        return cls({**inner.parts, "magnitude": magnitude}, inner.settings, inner, by_rows)

    @property
    def rank(self) -> int | None:
        """Rank of the delta."""
        return self.inner.rank

    @property
    def shape(self) -> Shape | None:
        """The shape of the delta."""
        return self.inner.shape

    def fits(self, shape: Shape) -> bool:
        """The delta fits, and there is one magnitude a row or a column."""
        if len(shape) < 2 or not self.inner.fits(shape):
            return False
        return math.prod(self.size("magnitude")) == shape[0 if self.is_by_rows(shape) else 1]

    def is_by_rows(self, shape: Shape) -> bool:
        """Whether the rows (outputs) of a weight of this shape have the magnitudes, or its columns (inputs)."""
        mine = self.size("magnitude")
        return self.by_rows or len(mine) < 2 or (mine[0] == shape[0] and math.prod(mine) == shape[0])

    def as_comfyui(self) -> Dora:
        """By rows, the norm is that of the weight without the delta."""
        return replace(self, normed_by_base=True)

    def change(self, weight: Tensor, strength: float, read: Read) -> Tensor:
        """The weight with its direction changed and its magnitudes replaced."""
        import torch

        moved = weight + self.inner.delta(weight, read).reshape(weight.shape)
        rows = self.is_by_rows(tuple(weight.shape))
        axes = [axis for axis in range(weight.ndim) if axis != (0 if rows else 1)]
        normed = weight if self.normed_by_base and rows else moved
        norm = torch.linalg.vector_norm(normed, dim=axes, keepdim=True)
        # As ComfyUI: a row of zeros stays zero instead of NaN.
        norm += torch.finfo(norm.dtype).eps
        magnitude = self.get("magnitude", read, weight).reshape(norm.shape)
        return weight.lerp_(moved.mul_(magnitude / norm), strength)
