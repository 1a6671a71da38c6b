"""The one place where code of a node or its pack is called, and whatever it raises becomes a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from graphexec.errors import Cancelled

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Raised:
    """What such code raised."""

    error: Exception


def attempt(function: Callable[..., T], arguments: Mapping[str, Any]) -> T | Raised:
    """Call such code; what it raises comes back as `Raised`, except a cancellation."""
    came = _tried(function, arguments)
    return Raised(speaking(came.error)) if isinstance(came, Raised) else came


def speaking(error: Exception) -> Exception:
    """What such code raised, or where that fails at its own words, an error that says so."""
    words = _tried(str, {"object": error})
    if not isinstance(words, Raised):
        return error
    why = type(words.error).__name__
    mute = RuntimeError(f"{type(error).__name__}, whose own words cannot be had: its __str__ raised {why}")
    mute.__cause__ = error
    return mute


def refusal(asked: SystemExit) -> RuntimeError:
    """What such code fails with where it would have ended the whole program."""
    code = cast("object", asked.code)
    if not isinstance(code, int | str | None):
        code = type(code).__name__
    refused = RuntimeError(f"its code called sys.exit({code!r}), which would end the program; let it raise an error")
    refused.__cause__ = asked
    return refused


def _tried(function: Callable[..., T], arguments: Mapping[str, Any]) -> T | Raised:
    try:
        return function(**arguments)
    except Cancelled:
        raise
    except SystemExit as asked:
        return Raised(refusal(asked))
    except Exception as error:  # noqa: BLE001 - whatever a node raises is the node's failure, not the run's
        return Raised(error)
