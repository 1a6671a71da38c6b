"""How the weights of a prompt's pieces change its embedding: as ComfyUI, A1111 or compel do it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from graphexec.diffusion.text import Token
from graphexec.diffusion.types import Weighting

__all__ = ["WEIGHTINGS", "Chunks", "Encode", "weigh"]

Chunks = Sequence[Sequence[Token]]
"""Equally long rows of tokens, each encoded for itself."""

Encode = Callable[[Chunks, Tensor | None], Tensor]
"""Gives the embedding [B, T, C] of chunks; tokens that are False in a bool tensor [B, T] are hidden from the others."""

LEAST = 1e-5
"""The least weight that compel's tangent is taken of."""


def weigh(style: Weighting, chunks: Chunks, z: Tensor, empty: Chunks, encode: Encode) -> Tensor:
    """The embedding z [B, T, C] of `chunks` with their weights at work; `empty` is a chunk without text."""
    if all(token.weight == 1.0 for chunk in chunks for token in chunk):
        return z
    return WEIGHTINGS[style](chunks, z, empty, encode)


def _from_empty(chunks: Chunks, z: Tensor, empty: Chunks, encode: Encode) -> Tensor:
    """A weight w moves a token's vector z to `(z - z_empty) * w + z_empty`, where `z_empty` is that of no text."""
    weights = _weights(chunks, z)
    z_empty = encode(empty, None)
    return torch.where(weights == 1.0, z, (z - z_empty) * weights + z_empty)


def _to_mean(chunks: Chunks, z: Tensor, empty: Chunks, encode: Encode) -> Tensor:
    """Weights multiply the vectors of tokens, and each chunk is then scaled so that its mean is as before (A1111)."""
    weighted = z * _weights(chunks, z)
    return weighted * (z.mean(dim=(1, 2), keepdim=True) / weighted.mean(dim=(1, 2), keepdim=True))


def _towards_without(chunks: Chunks, z: Tensor, empty: Chunks, encode: Encode) -> Tensor:
    """As `_from_empty`; each piece of a weight w < 1 also draws towards the prompt in which it is hidden (compel).

    The prompt without the piece counts `tan((1 - w) * pi / 2)` times as much as the whole one.
    """
    weighted = _from_empty(chunks, z, empty, encode)
    total, shares = weighted, 1.0
    for piece, weight in _lowered(chunks).items():
        keep = torch.tensor([[token.piece != piece for token in chunk] for chunk in chunks], device=z.device)
        share = math.tan((1.0 - max(weight, LEAST)) * math.pi / 2)
        total = total + share * _from_empty(chunks, encode(chunks, keep), empty, encode)
        shares += share
    return total / shares


def _lowered(chunks: Chunks) -> Mapping[int, float]:
    return {token.piece: token.weight for chunk in chunks for token in chunk if token.weight < 1.0}


def _weights(chunks: Chunks, like: Tensor) -> Tensor:
    weights = [[token.weight for token in chunk] for chunk in chunks]
    return torch.tensor(weights, dtype=like.dtype, device=like.device)[..., None]


WEIGHTINGS: Mapping[Weighting, Callable[[Chunks, Tensor, Chunks, Encode], Tensor]] = {
    "comfy": _from_empty,
    "a1111": _to_mean,
    "compel": _towards_without,
}
