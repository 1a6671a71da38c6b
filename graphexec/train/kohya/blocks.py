"""Learning rates by block of the UNet: `down_lr_weight`, `mid_lr_weight`, `up_lr_weight` and their named courses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

__all__ = ["COURSES", "block_counts", "block_rates"]

COURSES: Mapping[str, Callable[[float], float]] = {
    "sine": lambda at: math.sin(math.pi / 2 * at),
    "cosine": lambda at: math.sin(math.pi / 2 * (1 - at)),
    "linear": lambda at: at,
    "reverse_linear": lambda at: 1 - at,
    "zeros": lambda at: 0.0,
}
"""Factors from the first block (0) to the last (1)."""


def block_counts(inputs: int, *, is_sdxl: bool) -> tuple[int, ...]:
    """How many values a UNet of so many input (and output) blocks can have: for SDXL also as sd-scripts lists them."""
    whole = 2 * inputs + 1
    return (whole, whole + 4) if is_sdxl else (whole,)


def block_rates(down: str | None, middle: str | None, up: str | None, zero: float, count: int) -> tuple[float, ...]:
    """Factors of the learning rate of a UNet with `count` input (and output) blocks; () if none are asked for.

    Factors up to `zero` become 0. Raises ValueError for lists of other lengths than the UNet has blocks.
    """
    if down is None and middle is None and up is None:
        return ()
    rates = (*_side(down, count), _middle(middle), *_side(up, count))
    return tuple(rate if rate > zero else 0.0 for rate in rates)


def _side(text: str | None, count: int) -> tuple[float, ...]:
    if text is None:
        return (1.0,) * count
    name, _, base = text.partition("+")
    if name in COURSES:
        try:
            raised = float(base or 0)
        except ValueError:
            raise ValueError(f"a number after {name}+, such as {name}+0.1") from None
        return tuple(COURSES[name](place / (count - 1)) + raised for place in range(count))
    return _listed(text, count)


def _listed(text: str, count: int) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != count:
        raise ValueError(f"{count} numbers, one a block, or one of {', '.join(COURSES)} (with +0.1 to raise it)")
    return found


def _middle(text: str | None) -> float:
    try:
        found = {float(part) for part in text.split(",")} if text is not None else {1.0}
    except ValueError:
        found = set[float]()
    if len(found) != 1:
        raise ValueError("one number for the middle block")
    return found.pop()
