"""Faults of a computation itself, as opposed to those of its files."""

from __future__ import annotations

from collections.abc import Sequence

from graphexec.errors import GraphexecError

__all__ = [
    "CompilingError",
    "LatentError",
    "MergeError",
    "MissingDevice",
    "MissingLibrary",
    "NonFiniteError",
    "OutOfMemory",
    "SigmasError",
    "StaleValue",
    "listed",
]


class NonFiniteError(GraphexecError):
    """A result holds NaN or infinity; the message says which and where it arose."""


class LatentError(GraphexecError):
    """Latents, masks or pictures of a size or number of channels that the operation cannot take."""


class SigmasError(GraphexecError):
    """Noise levels, or settings of a sampler, with which no run is possible."""


class MergeError(GraphexecError):
    """Models that cannot be merged, or a difference that cannot be extracted."""


class StaleValue(GraphexecError):
    """A cached recipe names a file that has been changed or removed since."""


class MissingDevice(GraphexecError):
    """A device was asked for that this machine does not have, or that torch cannot use here."""


class MissingLibrary(GraphexecError):
    """A library is not installed that a node needs; the message names the extra that brings it."""


class OutOfMemory(GraphexecError):
    """A computation needs more memory than there is, after all else made room; the message says what to do."""


class CompilingError(GraphexecError):
    """A network was to be compiled and cannot be; the message says what compiling needs."""


def listed(names: Sequence[str]) -> str:
    """The first three of many names, for a message."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
