"""Operations on conditioning: joining, mixing, and saying where and when it counts. Nothing is changed in place."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from graphexec.diffusion.properties import each
from graphexec.diffusion.types import Cond, Conditioning, Region

__all__ = ["average", "concat", "set_mask", "zero_out"]


def average(to: Conditioning, other: Conditioning, strength: float) -> Conditioning:
    """`strength` of each cond of `to`, and the rest of the first cond of `other`, cut or zero-padded to its length.

    A cond without a pooled output takes that of `other`; where `other` has none it keeps its own.
    """
    source = other.conds[0]

    def mixed(cond: Cond) -> Cond:
        length = cond.embedding.shape[1]
        tokens = source.embedding[:, :length]
        tokens = torch.nn.functional.pad(tokens, (0, 0, 0, length - tokens.shape[1]))
        pooled = cond.pooled if source.pooled is None else _mix(cond.pooled, source.pooled, strength)
        return replace(cond, embedding=_mix(cond.embedding, tokens, strength), pooled=pooled)

    return each(to, mixed)


def concat(to: Conditioning, other: Conditioning) -> Conditioning:
    """Each cond of `to` with the tokens of the first cond of `other` behind its own."""
    tokens = other.conds[0].embedding
    return each(to, lambda cond: replace(cond, embedding=torch.cat([cond.embedding, tokens], dim=1)))


def zero_out(conditioning: Conditioning) -> Conditioning:
    """The same with zeros for embeddings and pooled outputs."""

    def zeroed(cond: Cond) -> Cond:
        pooled = None if cond.pooled is None else torch.zeros_like(cond.pooled)
        return replace(cond, embedding=torch.zeros_like(cond.embedding), pooled=pooled)

    return each(conditioning, zeroed)


def set_mask(conditioning: Conditioning, mask: Tensor, strength: float, *, to_bounds: bool) -> Conditioning:
    """Let conds count where `mask` [B, H, W] or [H, W] is 1; `to_bounds` also computes them only on the mask's box."""
    region = Region(mask if mask.dim() > 2 else mask[None], strength, to_bounds)
    return each(conditioning, lambda cond: replace(cond, region=region))


def _mix(to: Tensor | None, other: Tensor, strength: float) -> Tensor:
    return other if to is None else to * strength + other * (1.0 - strength)
