"""Where and when conditionings count, and what changes the model for them alone. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graphexec.diffusion.types import Cond, Conditioning, Hooks, Mask, Region, TimestepsRange

__all__ = ["beside", "each", "with_default", "with_properties"]


def beside(one: Conditioning, other: Conditioning) -> Conditioning:
    """Two conditionings whose predictions are averaged."""
    return Conditioning((*one.conds, *other.conds))


def with_properties(
    conditioning: Conditioning,
    strength: float,
    to_bounds: bool,
    mask: Mask | None,
    hooks: Hooks | None,
    timesteps: TimestepsRange | None,
) -> Conditioning:
    """A conditioning that counts by `strength` inside a mask and in a range, with hooks besides its own."""

    def changed(cond: Cond) -> Cond:
        if hooks is not None:
            cond = replace(cond, hooks=(cond.hooks or Hooks()).joined(hooks))
        if mask is not None:
            cond = replace(cond, region=Region(mask, strength, to_bounds))
        return cond if timesteps is None else replace(cond, start=timesteps.start, end=timesteps.end)

    return each(conditioning, changed)


def with_default(conditioning: Conditioning, default: Conditioning, hooks: Hooks | None) -> Conditioning:
    """A conditioning beside one that fills what it leaves free."""

    def marked(cond: Cond) -> Cond:
        own = cond.hooks if hooks is None else (cond.hooks or Hooks()).joined(hooks)
        return replace(cond, default=True, hooks=own)

    return beside(conditioning, each(default, marked))


def each(conditioning: Conditioning, change: Callable[[Cond], Cond]) -> Conditioning:
    """A conditioning with every cond changed."""
    return Conditioning(tuple(map(change, conditioning.conds)))
