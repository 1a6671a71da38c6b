"""BOFT: rotations in stages that mix blocks like a butterfly (Liu et al. 2024, https://arxiv.org/abs/2311.06243)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from graphexec.lora.adapters.base import Adapter, Parts, Read
from graphexec.lora.adapters.oft import cayley, rescaled
from graphexec.lora.header import Shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Boft", "PeftBoft"]


class Boft(Adapter):
    """LyCORIS' BOFT: `oft_blocks` [stages, blocks, size, size] on a weight's rows.

    As OFT, but the strength applies to every stage: each lies on the line between its rotation and none.
    """

    __slots__ = ()
    NEEDS: ClassVar = (frozenset({"oft_blocks"}),)
    TAKES: ClassVar = frozenset({"rescale", "alpha"})

    @classmethod
    def accepts(cls, parts: Parts) -> bool:
        """Blocks of several stages; those of OFT have one."""
        return len(parts["oft_blocks"].shape) == 4

    def fits(self, shape: Shape) -> bool:
        """The blocks cover the rows, and the stages do not reach beyond them."""
        stages, count, size, other = self.size("oft_blocks")
        scale = self.size("rescale")
        reach = 2**stages * (size // 2)
        whole = size == other and count * size == shape[0] and size % 2 == 0 and shape[0] % reach == 0
        return len(shape) > 1 and whole and (not scale or math.prod(scale) == shape[0])

    def change(self, weight: Tensor, strength: float, read: Read) -> Tensor:
        """The weight after every stage."""
        turned = self.rotated(weight, self.rotations(weight, read), strength)
        return rescaled(self, turned, strength, read)

    def rotations(self, weight: Tensor, read: Read) -> Tensor:
        """The rotations [stages, blocks, size, size]."""
        alpha = float(read(self.parts["alpha"].tensor)) if "alpha" in self.parts else 0.0
        return cayley(self.get("oft_blocks", read, weight), alpha * len(weight))

    @staticmethod
    def rotated(weight: Tensor, rotations: Tensor, strength: float) -> Tensor:
        """Stage by stage, the rows that lie `2^stage * size / 2` apart are brought together and turned."""
        size = rotations.shape[-1]
        rows = weight.flatten(1)
        for stage, rotation in enumerate(rotations):
            apart = 2**stage * (size // 2)
            mixed = rows.unflatten(0, (-1, 2, apart)).transpose(1, 2).flatten(0, 2).unflatten(0, (-1, size))
            mixed = mixed.lerp(rotation @ mixed, strength)
            rows = mixed.flatten(0, 1).unflatten(0, (-1, apart, 2)).transpose(1, 2).flatten(0, 2)
        return rows.reshape(weight.shape)


class PeftBoft(Adapter):
    """PEFT's BOFT: `boft_R` [stages, blocks, size, size] on a weight's columns, `boft_s` rescales its rows."""

    __slots__ = ()
    NEEDS: ClassVar = (frozenset({"boft_R", "boft_s"}),)

    def fits(self, shape: Shape) -> bool:
        """The blocks cover the columns, and there is one scale a row."""
        blocks, columns = self.size("boft_R"), math.prod(shape[1:])
        if len(shape) < 2 or len(blocks) != 4 or blocks[2] != blocks[3] or blocks[1] * blocks[2] != columns:
            return False
        staged = blocks[0] == 1 or (blocks[2] % 2 == 0 and columns % (2 ** blocks[0] * (blocks[2] // 2)) == 0)
        return staged and math.prod(self.size("boft_s")) == shape[0]

    def change(self, weight: Tensor, strength: float, read: Read) -> Tensor:
        """The weight after every stage, the strength applying to each and to the scales."""
        columns = weight.flatten(1).T.contiguous()
        for stage, rotation in enumerate(self._rotations(weight, read)):
            columns = _stage(columns, rotation, stage, strength)
        scale = self.get("boft_s", read, weight).reshape(-1, 1)
        return (columns.T * (1.0 + strength * (scale - 1.0))).reshape(weight.shape)

    def _rotations(self, weight: Tensor, read: Read) -> Tensor:
        # PEFT halves Q and turns the other way than LyCORIS.
        return cayley(self.get("boft_R", read, weight) / 2).mT


def _stage(rows: Tensor, rotation: Tensor, stage: int, strength: float) -> Tensor:
    """One stage of PEFT's butterfly: the halves of blocks that lie `2^stage` halves apart are brought together."""
    count, size, _ = rotation.shape
    if stage == 0:
        mixed = rows.unflatten(0, (count, size))
        return mixed.lerp(rotation @ mixed, strength).flatten(0, 1)
    half, apart = size // 2, 2**stage
    mixed = rows.unflatten(0, (-1, 2, apart, half)).transpose(1, 2).flatten(0, 3).unflatten(0, (count, size))
    mixed = mixed.lerp(rotation @ mixed, strength)
    return mixed.flatten(0, 1).unflatten(0, (-1, apart, 2, half)).transpose(1, 2).flatten(0, 3)
