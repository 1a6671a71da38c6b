"""The one place where code of a node or its pack is called, and whatever it raises becomes a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from graphexec.errors import Cancelled

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Raised:
    """What such code raised."""

    error: Exception


def attempt(function: Callable[..., T], arguments: Mapping[str, Any]) -> T | Raised:
    """Call such code; what it raises comes back as `Raised`, except a cancellation."""
    try:
        return function(**arguments)
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a node raises is the node's failure, not the run's
        return Raised(error)
