"""What a run tells while it goes: progress bars, JSON lines and servers are sinks of this stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from graphexec.node.boundary import Raised, attempt


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run."""

    def as_json(self) -> dict[str, Any]:
        """The event as JSON: its name under `event`, and its fields."""
        fields = {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return {"event": type(self).__name__.lower(), **fields}


@dataclass(frozen=True, slots=True)
class Planned(Event):
    """The run starts."""

    nodes: int
    """How many nodes the targets need."""
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cached(Event):
    """These nodes need not run: their results are kept, or only kept results need them."""

    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Started(Event):
    """A node starts to compute."""

    node: str
    class_type: str


@dataclass(frozen=True, slots=True)
class Progressed(Event):
    """A long node has done `done` of `total` steps."""

    node: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Warned(Event):
    """A node says something that does not stop the run."""

    node: str
    message: str


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """A node has computed its outputs."""

    node: str
    class_type: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Written(Event):
    """The files of an output node are in place; `kept` if they still were, from an earlier run."""

    node: str
    files: tuple[Path, ...]
    kept: bool


@dataclass(frozen=True, slots=True)
class Shown(Event):
    """An output node has texts to show."""

    node: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """A node raised; nodes that do not need it go on."""

    node: str
    class_type: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Skipped(Event):
    """A node does not run because a node that it needs failed, or blocked what it would have got."""

    node: str
    because: str


@dataclass(frozen=True, slots=True)
class Blocked(Event):
    """A value that a node needs is blocked, and this is why; sent once, where the block has a message."""

    node: str
    message: str


@dataclass(frozen=True, slots=True)
class CacheProblem(Event):
    """A cache entry was bad and is dropped, or could not be written; the run is not harmed."""

    path: Path | None
    """None for a cache of another kind than graphexec's own, which raised."""
    reason: str


@dataclass(frozen=True, slots=True)
class Interrupted(Event):
    """The run was asked to stop, and did; what had finished is kept."""


@dataclass(frozen=True, slots=True)
class Completed(Event):
    """The run is over."""

    executed: int
    cached: int
    failed: int
    seconds: float


Sink = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A sink that drops everything."""


class SinkFailed(BaseException):
    """Carries what a sink raised out of the node that told it something; no Exception, so that nodes let it pass."""

    def __init__(self, error: Exception | SystemExit) -> None:
        self.error = error


def carrying(sink: Sink) -> Sink:
    """The same sink, but what it raises is carried: it is no failure of the node that happens to be at work."""

    def tell(event: Event) -> None:
        told = attempt(partial(_told, sink, event), {})
        if isinstance(told, Raised):
            raise SinkFailed(told.error)

    return tell


def _told(sink: Sink, event: Event) -> None:
    try:
        sink(event)
    except SystemExit as asked:  # the host may end its program, as no node may
        raise SinkFailed(asked) from None


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [str(item) for item in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return value
