"""OFT: a weight's rows are rotated in blocks (Qiu et al. 2023, https://arxiv.org/abs/2306.07280)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from graphexec.lora.adapters.base import Adapter, Parts, Read
from graphexec.lora.header import Shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Oft", "PeftOft", "cayley", "rescaled", "skew"]


def cayley(blocks: Tensor, limit: float = 0.0) -> Tensor:
    """The rotations `(I + Q)(I - Q)^-1` of `Q = B - B^T`, the norm of all blocks' Q held at most `limit` (0: any)."""
    import torch

    skewed = blocks - blocks.mT
    if limit > 0:
        norm = float(torch.linalg.vector_norm(skewed)) + 1e-8
        skewed = skewed * min(1.0, limit / norm)
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    return torch.linalg.solve(eye - skewed, eye + skewed, left=False)


def rescaled(adapter: Adapter, weight: Tensor, strength: float, read: Read) -> Tensor:
    """The weight with its rows rescaled by `rescale`, if the adapter has it, as far as the strength says."""
    if "rescale" not in adapter.parts:
        return weight
    scale = adapter.get("rescale", read, weight).reshape(-1, *[1] * (weight.ndim - 1))
    return weight * (1.0 + strength * (scale - 1.0))


class Oft(Adapter):
    """LyCORIS' diag-OFT and kohya's OFT: blocks B whose Cayley transforms rotate the rows; `oft_diag` holds rotations.

    alpha is the constraint: the norm of Q is at most `alpha * out` (0 or none: any norm). At a strength below 1 the
    rotation lies on the line between it and none, as in LyCORIS.
    """

    __slots__ = ()
    NEEDS: ClassVar = (frozenset({"oft_blocks"}), frozenset({"oft_diag"}))
    TAKES: ClassVar = frozenset({"rescale", "alpha"})

    @classmethod
    def accepts(cls, parts: Parts) -> bool:
        """Blocks of one rotation; those of BOFT have an axis more."""
        return "oft_blocks" not in parts or len(parts["oft_blocks"].shape) == 3

    def fits(self, shape: Shape) -> bool:
        """The blocks cover the rows."""
        blocks, scale = self._blocks(), self.size("rescale")
        whole = len(blocks) == 3 and blocks[1] == blocks[2] and blocks[0] * blocks[1] == shape[0]
        return whole and (not scale or math.prod(scale) == shape[0])

    def change(self, weight: Tensor, strength: float, read: Read) -> Tensor:
        """The rotated weight."""
        return rescaled(self, self.rotated(weight, self.rotations(weight, read), strength), strength, read)

    def rotations(self, weight: Tensor, read: Read) -> Tensor:
        """The rotation of each block [blocks, size, size]."""
        if "oft_diag" in self.parts:
            return self.get("oft_diag", read, weight)
        alpha = float(read(self.parts["alpha"].tensor)) if "alpha" in self.parts else 0.0
        return cayley(self.get("oft_blocks", read, weight), alpha * len(weight))

    @staticmethod
    def rotated(weight: Tensor, rotations: Tensor, strength: float) -> Tensor:
        """Every block of rows turned by its rotation, as far as the strength says."""
        rows = weight.view(*rotations.shape[:2], -1)
        return weight + strength * (rotations.mT @ rows - rows).view(weight.shape)

    def _blocks(self) -> Shape:
        return self.size("oft_blocks") or self.size("oft_diag")


class PeftOft(Adapter):
    """PEFT's OFT: `oft_R` holds the upper triangles of Q for blocks of a weight's columns (inputs and kernel).

    PEFT takes the first terms of the Cayley transform's series unless its configuration, in the file's metadata, says
    otherwise; its exact transform turns the other way.
    """

    __slots__ = ()
    NEEDS: ClassVar = (frozenset({"oft_R"}),)

    def fits(self, shape: Shape) -> bool:
        """The blocks cover the columns; a single block may be shared."""
        size, columns = self._size(), math.prod(shape[1:])
        return size > 1 and columns % size == 0 and self.size("oft_R")[0] in (1, columns // size)

    def change(self, weight: Tensor, strength: float, read: Read) -> Tensor:
        """The rotated weight."""
        import torch

        rotations = self._rotations(skew(self.get("oft_R", read, weight), self._size()))
        columns = weight.view(len(weight), -1, self._size())
        # A product of blocks by rows; one of rows by blocks would repeat the rotations for every row.
        turned = torch.einsum("ons,nts->ont", columns, rotations.expand(columns.shape[1], -1, -1))
        return weight + strength * (turned - columns).reshape(weight.shape)

    def _size(self) -> int:
        """The size s of a block, of which the file has s (s - 1) / 2 elements."""
        mine = self.size("oft_R")
        elements = mine[1] if len(mine) == 2 else 0
        size = (1 + int((1 + 8 * elements) ** 0.5)) // 2
        return size if size * (size - 1) == 2 * elements else 0

    def _rotations(self, skewed: Tensor) -> Tensor:
        import torch

        eye = torch.eye(skewed.shape[-1], dtype=skewed.dtype, device=skewed.device)
        if not self.settings.get("use_cayley_neumann", True):
            return torch.linalg.solve(eye + skewed, eye - skewed, left=False)
        terms = int(self.settings.get("num_cayley_neumann_terms", 5))
        terms = 4 if terms == 3 else terms  # as PEFT computes it
        power, total = eye, eye.expand_as(skewed).clone()
        for term in range(1, terms):
            power = power @ skewed
            total += power * (1 if term == terms - 1 and term > 1 else 2)
        return total


def skew(upper: Tensor, size: int) -> Tensor:
    """Skew-symmetric matrices [n, size, size] of their upper triangles [n, size (size - 1) / 2]."""
    import torch

    found = upper.new_zeros(len(upper), size, size)
    rows, columns = torch.triu_indices(size, size, 1)
    found[:, rows, columns] = upper
    return found - found.mT
