"""The one place where code of a node is called, and whatever it raises becomes a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphexec.errors import Cancelled


@dataclass(frozen=True, slots=True)
class Raised:
    """What a node's code raised."""

    error: Exception


def attempt(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a node's code; what it raises comes back as `Raised`, except a cancellation."""
    try:
        return function(**arguments)
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a node raises is the node's failure, not the run's
        return Raised(error)
