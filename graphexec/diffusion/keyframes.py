"""Strengths over the sampling range. Importing this imports nothing that reads files of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from graphexec.diffusion.types import Keyframe

__all__ = ["Ease", "eased", "spread"]

Ease = Literal["linear", "ease_in", "ease_out", "ease_in_out"]


def eased(first: float, last: float, count: int, ease: Ease) -> list[float]:
    """`count` numbers from `first` to `last`, evenly, or slower at the start, the end or both."""
    shares = [i / (count - 1) for i in range(count)] if count > 1 else [0.0]
    return [first + (last - first) * _eased(share, ease) for share in shares]


def spread(strengths: Sequence[float], start: float, end: float) -> list[Keyframe]:
    """Keyframes of these strengths, evenly between two fractions."""
    starts = eased(start, end, len(strengths), "linear")
    return [Keyframe(at, strength) for at, strength in zip(starts, strengths, strict=True)]


def _eased(share: float, ease: Ease) -> float:
    match ease:
        case "linear":
            return share
        case "ease_in":
            return share**2
        case "ease_out":
            return 1 - (1 - share) ** 2
        case "ease_in_out":
            return (1 - math.cos(share * math.pi)) / 2
