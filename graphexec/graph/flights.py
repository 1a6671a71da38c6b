"""Runs at the same time that want the same result: one computes it, and the others wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

POLL_SECONDS = 0.05
"""How long a waiting run may be asked to stop without hearing of it."""


class Flights:
    """What runs compute now, by cache key. Used from many threads.

    Who waits holds nothing that another could be waiting for: a run is inside for the length of one node's call, which
    waits for no other's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[bytes, tuple[int, threading.Event]] = {}

    @contextmanager
    def joined(self, key: bytes, check: Callable[[], None]) -> Generator[None]:
        """Look for a result, and compute it, inside; what another computes just now is waited for before.

        It is waited for once: what could not be kept is then computed by all at the same time, as it would be without.
        `check` is called meanwhile and may raise Cancelled.
        """
        me, landed = threading.get_ident(), threading.Event()
        with self._lock:
            who, other = self._now.setdefault(key, (me, landed))
        if other is not landed:
            while who != me and not other.wait(POLL_SECONDS):  # what a node or a sink runs does not wait for itself
                check()
            yield
            return
        try:
            yield
        finally:
            with self._lock:
                del self._now[key]
            landed.set()
