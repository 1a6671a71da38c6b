"""The one place where code of a node or its pack is called, and whatever it raises becomes a value."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import FrameType
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


def let_go(errors: Iterable[BaseException | None]) -> None:
    """Drop what the code that raised was working on, such as tensors; the tracebacks still say where that was.

    Whoever keeps an error keeps the frames of its traceback, and those of their callers, with all their variables.
    """
    pending = list(errors)
    seen = {id(sys.exc_info()[1])}  # what the host is handling is its own, and the context of whatever is raised
    while pending:
        error = pending.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        pending += [error.__cause__, error.__context__]
        if error.__traceback__ is not None:
            traceback.clear_frames(error.__traceback__)
            _clear_callers(error.__traceback__.tb_frame)


def _clear_callers(frame: FrameType) -> None:
    while frame.f_back is not None:
        frame = frame.f_back
        try:
            frame.clear()
        except RuntimeError:  # it is at work still, as are those that called it
            return


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
