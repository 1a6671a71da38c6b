"""How far two results are apart, and where that is written down for `scripts/parity`."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


def distance(ours: Tensor, theirs: Tensor) -> float:
    """The norm of the difference by the norm of theirs; where that is 0, the norm itself."""
    ours, theirs = ours.double(), theirs.double()
    whole = float(theirs.norm())
    return float((ours - theirs).norm()) / (whole or 1.0)


@dataclass(frozen=True)
class Agreement:
    """Compares results with recorded ones, and records how far they are apart."""

    record: Callable[[str, object], None]

    def __call__(self, group: str, ours: Tensor, theirs: Tensor, tolerance: float) -> None:
        """Fail if they are further apart than the tolerance."""
        assert ours.shape == theirs.shape
        error = distance(ours, theirs)
        self.record("parity", f"{group}\t{error:.3e}\t{tolerance:.0e}")
        assert error <= tolerance
