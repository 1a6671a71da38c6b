"""What every adapter of a LoRA file can do: say which weight it fits, and change that weight."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from graphexec.lora.header import Shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Adapter",
    "Additive",
    "Part",
    "Parts",
    "Product",
    "Read",
    "add_products",
    "as_text",
    "cp_product",
    "product_shape",
    "scale_of",
]

Read = Callable[[str], "Tensor"]
"""Gives a tensor of the LoRA file by its name."""


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of an adapter."""

    tensor: str
    shape: Shape


Parts = Mapping[str, Part]


@dataclass(frozen=True, slots=True)
class Product:
    """`scale * up @ down`: up [out, rank], down [rank, in * kernel], float32."""

    up: Tensor
    down: Tensor
    scale: float


@dataclass(frozen=True, slots=True)
class Adapter(ABC):
    """One change of one weight. `settings` is what the file's metadata says of it (PEFT's configuration)."""

    parts: Parts
    settings: Mapping[str, Any]

    NEEDS: ClassVar[tuple[frozenset[str], ...]] = ()
    """Sets of parts; a module that has all parts of one of them is of this kind."""
    TAKES: ClassVar[frozenset[str]] = frozenset()
    """Further parts that it can have."""

    @classmethod
    def needed(cls, parts: Parts) -> frozenset[str] | None:
        """The parts of this kind that `parts` holds, None if something is missing."""
        return next((needs for needs in cls.NEEDS if needs <= parts.keys() and cls.accepts(parts)), None)

    @classmethod
    def accepts(cls, parts: Parts) -> bool:
        """Whether the shapes are those of this kind, where names alone do not tell."""
        return True

    def as_comfyui(self) -> Adapter:
        """The adapter as ComfyUI 0.3.64 computes it, where pictures depend on that; others are the same."""
        return self

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of its tensors in the file."""
        return tuple(part.tensor for part in self.parts.values())

    @property
    def rank(self) -> int | None:
        """Its rank; None for a kind without one."""
        return None

    @property
    def shape(self) -> Shape | None:
        """The (out, in, ...) that it is for, as far as its tensors tell."""
        return None

    @property
    def has_scale(self) -> bool:
        """Whether alpha, where there is one, is one number, and no tensor is empty, as one of rank 0 is."""
        return math.prod(self.size("alpha")) == 1 and all(0 not in part.shape for part in self.parts.values())

    @abstractmethod
    def fits(self, shape: Shape) -> bool:
        """Whether its tensors fit each other and a weight of this shape."""

    @abstractmethod
    def change(self, weight: Tensor, strength: float, read: Read) -> Tensor:
        """The changed weight; `weight` (float32, contiguous) may be overwritten."""

    def product(self, weight: Tensor, strength: float, read: Read) -> Product | None:
        """What is added to the weight, as factors; None for a kind that does anything else."""
        return None

    def get(self, part: str, read: Read, like: Tensor) -> Tensor:
        """One of its tensors in float32, on the device of `like`."""
        return read(self.parts[part].tensor).to(like)

    def size(self, part: str) -> Shape:
        """The shape of one of its tensors; () if it has none of that name."""
        return self.parts[part].shape if part in self.parts else ()

    def length(self, part: str, dimension: int) -> int:
        """How long one of its tensors is along a dimension; 0 if it has no such dimension."""
        size = self.size(part)
        return size[dimension] if dimension < len(size) else 0


class Additive(Adapter):
    """An adapter that adds something to the weight, in proportion to the strength."""

    __slots__ = ()

    @abstractmethod
    def delta(self, weight: Tensor, read: Read) -> Tensor:
        """What is added at strength 1; its elements are those of the weight, in order."""

    def fits(self, shape: Shape) -> bool:
        """Whether rows, columns and number of elements are those of the weight."""
        mine = self.shape
        return mine is not None and mine[:2] == shape[:2] and math.prod(mine) == math.prod(shape)

    def change(self, weight: Tensor, strength: float, read: Read) -> Tensor:
        """The weight with the delta added."""
        return weight.add_(self.delta(weight, read).reshape(weight.shape), alpha=strength)


def scale_of(adapter: Adapter, rank: int, read: Read) -> float:
    """`alpha / rank`, the alpha being a tensor of the file or in its metadata; without any, 1.

    `use_rslora` divides by the root of the rank (Kalajdzievski 2023, https://arxiv.org/abs/2312.03732).
    """
    if "alpha" in adapter.parts:
        return float(read(adapter.parts["alpha"].tensor)) / rank
    alpha = adapter.settings.get("lora_alpha", adapter.settings.get("alpha"))
    if alpha is None:
        return 1.0
    return float(alpha) / (math.sqrt(rank) if adapter.settings.get("use_rslora") else rank)


def add_products(weight: Tensor, products: Sequence[Product]) -> None:
    """Add products to a weight (float32, contiguous) in one pass over it, their factors joined along the rank."""
    import torch

    matrix = weight.view(weight.shape[0], -1) if products else weight
    if len(products) == 1:
        matrix.addmm_(products[0].up, products[0].down, alpha=products[0].scale)
    elif products:
        ranks = [len(product.down) for product in products]
        ups = matrix.new_empty(len(matrix), sum(ranks))
        for product, part in zip(products, ups.split(ranks, dim=1), strict=True):
            torch.mul(product.up, product.scale, out=part)
        matrix.addmm_(ups, torch.cat([product.down for product in products]))


def cp_product(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The kernel [a's columns, b's columns, kh, kw] of a core [i, j, kh, kw] and factors a [i, p] and b [j, r]."""
    import torch

    return torch.einsum("i j h w, j r, i p -> p r h w", core, b, a)


def product_shape(a: Shape, b: Shape, core: Shape | None) -> Shape | None:
    """The shape of `a @ b`, or of `cp_product` where there is a core; None if they do not fit each other."""
    if len(a) != 2 or len(b) != 2:
        return None
    if core is None:
        return (a[0], b[1]) if a[1] == b[0] else None
    return (a[1], b[1], *core[2:]) if len(core) == 4 and core[:2] == (a[0], b[0]) else None


def as_text(shape: Shape) -> str:
    """A shape as it is written: `320 x 768`."""
    return " x ".join(map(str, shape))
