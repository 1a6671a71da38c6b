"""A run of `graphexec.train`'s loop in sight: its loss is printed and kept, its state too."""

from __future__ import annotations

import json
import time
from pathlib import Path

from graphexec.train.events import Started, Stepped
from graphexec.train.loop import BatchT, Loop

__all__ = ["Report", "go_on"]

REPORT = 20
KEPT = 240
"""Seconds after which the state is kept again."""


class Report:
    """Prints the mean loss of every so many steps, and keeps them as JSON lines."""

    def __init__(self, file: Path) -> None:
        self.file, self.losses = file, list[float]()

    def __call__(self, event: Started | Stepped) -> None:
        if isinstance(event, Stepped):
            self.losses.append(event.loss)
        if len(self.losses) == REPORT and isinstance(event, Stepped):
            line = json.dumps({"step": event.step, "loss": sum(self.losses) / REPORT, "steps a second": event.rate})
            self.losses.clear()
            print(line, flush=True)
            with self.file.open("a") as log:
                log.write(line + "\n")


def go_on(loop: Loop[BatchT], state: Path, minutes: float) -> bool:
    """Go on from the state until the end or until the time is up, and whether all is done; it is kept every few
    minutes."""
    if state.exists():
        loop.resume(state)
    end, kept = time.monotonic() + 60 * minutes, time.monotonic()
    for _moment in loop.run(lambda: False):
        now = time.monotonic()
        if now - kept > KEPT or now > end:
            loop.save(state)
            kept = now
        if now > end:
            return False
    loop.save(state)
    return True
