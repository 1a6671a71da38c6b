"""Which output may feed which input: ComfyUI's rule over wire type names."""

from __future__ import annotations

import functools


@functools.lru_cache(maxsize=4096)
def compatible(received: str, expected: str) -> bool:
    """Whether an output of type `received` may feed an input of type `expected`.

    Types are names, unions `A,B`, or the wildcard `*`; two unions meet where they overlap.
    """
    sent, taken = _members(received), _members(expected)
    return "*" in sent or "*" in taken or not sent.isdisjoint(taken)


def _members(wire: str) -> frozenset[str]:
    return frozenset(part.strip() for part in wire.split(","))
