"""What is wrong with a training set."""

from __future__ import annotations

from collections.abc import Sequence

from graphexec.train.faults import TrainingError

__all__ = ["DataError", "listed"]

SHOWN = 5


class DataError(TrainingError):
    """Pictures or captions with which no training is possible; the message says what to do."""


def listed(names: Sequence[object]) -> str:
    """The first few of many names, for a message."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(str(name) for name in names[:SHOWN]) + more
