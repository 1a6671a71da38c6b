"""Ctrl-C and SIGTERM: the first asks the command to stop, the second kills at once."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from graphexec.cli.exits import ExitCode, Terminated

if TYPE_CHECKING:
    from graphexec.graph.context import CancelToken

SIGNALS = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


@dataclass(slots=True)
class Stopped:
    """Whether a signal asked the run to stop, and the exit code that stands for it."""

    code: ExitCode | None = None


def raise_at_sigterm() -> None:
    """Let SIGTERM raise `Terminated`, as Ctrl-C raises KeyboardInterrupt; where it is ignored it stays so."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, stop)


@contextmanager
def stopping(cancel: CancelToken) -> Generator[Stopped]:
    """Let signals cancel the run inside; afterwards they do what they did before."""
    stopped = Stopped()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.code = SIGNALS[signal.Signals(number)]
        cancel.cancel()
        for each in before:
            signal.signal(each, signal.SIG_DFL)

    # A shell lets the jobs it puts into the background ignore Ctrl-C; it stays so.
    before = {each: signal.getsignal(each) for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN}
    for each in before:
        signal.signal(each, stop)
    try:
        yield stopped
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
