"""Tables of what was measured, and how it is measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from machine import described

PACKAGES = ("torch", "safetensors", "numpy")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: what was measured, and the most (or least) that it should be."""

    what: str
    shown: str
    bar: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        verdict = {None: "", True: "yes", False: "**no**"}[self.met]
        return f"| {self.what} | {self.shown} | {self.bar} | {verdict} |"


def show(rows: Iterable[Row], *notes: str) -> None:
    """Print the machine and a table, each line when it is known."""
    print(described(PACKAGES, *notes), "\n| what | measured | bar | met |\n|---|---|---|---|", sep="\n")
    for row in rows:
        print(row, flush=True)


def at_most(what: str, value: float, unit: str, bar: float) -> Row:
    """A value that should not be above the bar."""
    return Row(what, f"{value:.3g} {unit}", f"at most {bar:g} {unit}", value <= bar)


def at_least(what: str, value: float, unit: str, bar: float) -> Row:
    """A value that should not be below the bar."""
    return Row(what, f"{value:.3g} {unit}", f"at least {bar:g} {unit}", value >= bar)


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best(works: Sequence[Callable[[], object]], runs: int) -> list[float]:
    """The shortest time of each of several calls, which take turns: what the machine does besides hits all alike."""
    times = [[seconds(work) for work in works] for _ in range(runs)]
    return [min(each) for each in zip(*times, strict=True)]
