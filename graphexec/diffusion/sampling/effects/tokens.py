"""Options that make self-attention cheaper: tiles, and merged tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from graphexec.diffusion.memory import sent
from graphexec.diffusion.models.taps import AttentionKind, Place, Tap
from graphexec.diffusion.options import HyperTile, TokenMerging
from graphexec.diffusion.sampling.effects.base import Effect, Pass, Setting

__all__ = ["Merged", "Tiled"]

SMALLEST_TILE = 32
DOWNSCALE = 8
CELL = 2
"""One token of each square of so many by so many is kept; the others may be merged into one of those."""


class Tiled(Effect, Tap):
    """Self-attention inside tiles (https://github.com/tfernd/HyperTile). Queries, keys and values are tiled alike.

    How a side is cut varies between the sizes that `swap_size` allows, drawn from the run's seed.
    """

    def __init__(self, option: HyperTile, setting: Setting) -> None:
        self.option = option
        self._generator = torch.Generator().manual_seed(setting.seed)
        self._cut: tuple[int, int] = (1, 1)

    def tap(self, forward: Pass) -> Tap | None:
        """Every pass alike."""
        return self

    def attention_inputs(
        self, kind: AttentionKind, q: Tensor, k: Tensor, v: Tensor, at: Place
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The tokens as a batch of tiles, at the depths that are asked for."""
        self._cut = (1, 1)
        depth = self._depth(at) if kind == "self" and _whole(q, at) else None
        if depth is None:
            return q, k, v
        tile = max(SMALLEST_TILE, self.option.tile_size) // DOWNSCALE * (2**depth if self.option.scale_depth else 1)
        self._cut = self._count(at.size[0], tile), self._count(at.size[1], tile)
        return _cut(q, self._cut, at.size), _cut(k, self._cut, at.size), _cut(v, self._cut, at.size)

    def attention_output(self, kind: AttentionKind, out: Tensor, at: Place) -> Tensor:
        """The tokens in one piece again."""
        return _join(out, self._cut, at.size) if kind == "self" and self._cut != (1, 1) else out

    def _depth(self, at: Place) -> int | None:
        """How often the feature map was halved, if it is to be tiled."""
        tokens = at.size[0] * at.size[1]
        depths = range(self.option.max_depth + 1)
        return next((d for d in depths if tokens == at.full[0] / 2**d * (at.full[1] / 2**d)), None)

    def _count(self, side: int, tile: int) -> int:
        """How many tiles: one of the first `swap_size` ways to cut the side into equal tiles of at least `tile`."""
        sizes = [size for size in range(min(tile, side), side + 1) if side % size == 0][: self.option.swap_size]
        return side // sizes[int(torch.randint(len(sizes), (1,), generator=self._generator))]


@dataclass(slots=True)
class Merged(Effect, Tap):
    """Queries alike are merged before attention (Bolya and Hoffman 2023, https://arxiv.org/abs/2303.17604)."""

    option: TokenMerging
    setting: Setting
    _merge: _Merge | None = None
    _generator: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.setting.seed)

    def tap(self, forward: Pass) -> Tap | None:
        """Every pass alike."""
        return self

    def attention_inputs(
        self, kind: AttentionKind, q: Tensor, k: Tensor, v: Tensor, at: Place
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Fewer queries, at full resolution only; keys and values stay."""
        merged = int(q.shape[1] * self.option.ratio)
        self._merge = None
        if kind == "self" and at.size == at.full and merged > 0 and min(at.size) > 1 and _whole(q, at):
            self._merge = _Merge.of(q, at.size, merged, self._generator)
            q = self._merge.merge(q)
        return q, k, v

    def attention_output(self, kind: AttentionKind, out: Tensor, at: Place) -> Tensor:
        """Each token gets what the one it was merged into got."""
        return self._merge.unmerge(out) if kind == "self" and self._merge else out


@dataclass(frozen=True, slots=True)
class _Merge:
    """Which tokens [B, ...] are kept as they are, merged (`source`) into which, and which take others in."""

    kept: Tensor
    source: Tensor
    into: Tensor
    takers: Tensor

    @classmethod
    def of(cls, tokens: Tensor, size: tuple[int, int], merged: int, generator: torch.Generator) -> _Merge:
        """Merge the `merged` tokens that are most like one of the takers, of which each square holds one."""
        takers, others = _takers(size, generator)
        takers, others = sent(takers, tokens.device), sent(others, tokens.device)
        directions = tokens / tokens.norm(dim=-1, keepdim=True)
        likeness, into = (directions[:, others] @ directions[:, takers].mT).max(dim=-1)
        order = likeness.argsort(dim=-1, descending=True)
        merged = min(merged, len(others))
        source, kept = order[:, :merged], order[:, merged:]
        return cls(others[kept], others[source], into.gather(1, source), takers.expand(len(tokens), -1))

    def merge(self, x: Tensor) -> Tensor:
        """The kept tokens, then the takers as means of what they took in."""
        means = _pick(x, self.takers).scatter_reduce(1, _wide(self.into, x), _pick(x, self.source), "mean")
        return torch.cat([_pick(x, self.kept), means], dim=1)

    def unmerge(self, x: Tensor) -> Tensor:
        """All tokens in their places."""
        kept, takers = x.split([self.kept.shape[1], self.takers.shape[1]], dim=1)
        count = self.kept.shape[1] + self.source.shape[1] + self.takers.shape[1]
        out = x.new_zeros(len(x), count, x.shape[-1])
        out.scatter_(1, _wide(self.takers, x), takers)
        out.scatter_(1, _wide(self.kept, x), kept)
        return out.scatter_(1, _wide(self.source, x), _pick(takers, self.into))


def _whole(tokens: Tensor, at: Place) -> bool:
    """Whether there is a token for each place: another option may have cut or merged them before."""
    return tokens.shape[1] == at.size[0] * at.size[1]


def _takers(size: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One random token of each square, and all others."""
    rows, columns = size
    down, right = torch.meshgrid(torch.arange(rows // CELL), torch.arange(columns // CELL), indexing="ij")
    inside = torch.randint(CELL * CELL, down.shape, generator=generator)
    takers = ((down * CELL + inside // CELL) * columns + right * CELL + inside % CELL).flatten()
    free = torch.ones(rows * columns, dtype=torch.bool)
    free[takers] = False
    return takers, free.nonzero().flatten()


def _wide(index: Tensor, like: Tensor) -> Tensor:
    return index[..., None].expand(-1, -1, like.shape[-1])


def _pick(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, _wide(index, x))


def _cut(tokens: Tensor, cut: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """[B, h * w, C] as tiles [B * cuts, h * w / cuts, C]."""
    (down, right), (rows, columns) = cut, size
    tiles = tokens.view(len(tokens), down, rows // down, right, columns // right, -1)
    return tiles.transpose(2, 3).reshape(len(tokens) * down * right, -1, tokens.shape[-1])


def _join(tiles: Tensor, cut: tuple[int, int], size: tuple[int, int]) -> Tensor:
    (down, right), (rows, columns) = cut, size
    parts = tiles.view(-1, down, right, rows // down, columns // right, tiles.shape[-1])
    return parts.transpose(2, 3).reshape(-1, rows * columns, tiles.shape[-1])
