"""The first signal asks, the second kills."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from graphexec.cli.exits import ExitCode, Terminated
from graphexec.cli.interrupts import SIGNALS, raise_at_sigterm, stopping
from graphexec.graph.context import CancelToken


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)]
)
def test_a_signal_cancels_and_leaves_the_next_one_to_kill(number: signal.Signals, code: ExitCode) -> None:
    cancel = CancelToken()
    with stopping(cancel) as stopped:
        signal.raise_signal(number)
        assert cancel.cancelled
        assert stopped.code is code
        assert all(signal.getsignal(each) is signal.SIG_DFL for each in SIGNALS)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_signal_nothing_changes() -> None:
    cancel = CancelToken()
    with stopping(cancel) as stopped:
        pass
    assert (stopped.code, cancel.cancelled) == (None, False)


def test_a_signal_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cancel = CancelToken()
    with stopping(cancel):
        signal.raise_signal(signal.SIGINT)
    assert not cancel.cancelled


def test_where_nobody_listens_sigterm_raises_once() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise_at_sigterm()
    with pytest.raises(Terminated):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_sigterm_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise_at_sigterm()
    signal.raise_signal(signal.SIGTERM)
