"""How far two results are apart, and where that is written down for `scripts/parity`."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from graphexec.diffusion.types import Precision


def distance(ours: Tensor, theirs: Tensor) -> float:
    """The norm of the difference by the norm of theirs; where that is 0, the norm itself."""
    ours, theirs = ours.double(), theirs.double()
    whole = float(theirs.norm())
    return float((ours - theirs).norm()) / (whole or 1.0)


@dataclass(frozen=True)
class Place:
    """A device, and what UNets compute in there. The recorded numbers are a CPU's in float32."""

    device: str
    precision: Precision

    def __str__(self) -> str:
        return f"{self.device} {self.precision}"

    def tolerance(self, on_cpu: float) -> float:
        """What is allowed where so much is on the CPU: other kernels sum in another order; 16 bits round to 2^-11."""
        if self.device == "cpu":
            return on_cpu
        return 10 * on_cpu if self.precision == "fp32" else max(10 * on_cpu, 5e-2)


CPU = Place("cpu", "fp32")
PLACES = (CPU, Place("cuda", "fp32"), Place("cuda", "fp16"))


@dataclass(frozen=True)
class Agreement:
    """Compares results with recorded ones, and records how far they are apart."""

    record: Callable[[str, object], None]
    place: Place = CPU

    def __call__(self, group: str, ours: Tensor, theirs: Tensor, tolerance: float) -> None:
        """Fail if they are further apart than the tolerance, which is that of a CPU."""
        assert ours.shape == theirs.shape
        error, allowed = distance(ours.cpu(), theirs), self.place.tolerance(tolerance)
        title = group if self.place == CPU else f"{group}, {self.place}"
        self.record("parity", f"{title}\t{error:.3e}\t{allowed:.0e}")
        assert error <= allowed
