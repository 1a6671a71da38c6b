"""What a run tells, shown: progress bars, plain lines, JSON lines, the paths of files; and a record of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

import click

from graphexec.cli.diagnostics import printable
from graphexec.graph import events

if TYPE_CHECKING:
    from pathlib import Path

    from graphexec.graph.context import CancelToken
    from graphexec.graph.events import Event, Sink

    Naming = Callable[[str], str]
    """Says how a node is called in messages, given its id."""


@dataclass(slots=True)
class Record:
    """What a run has told so far; it stands for the result where the run was stopped."""

    files: dict[str, list[Path]] = field(default_factory=dict[str, "list[Path]"])
    executed: dict[str, None] = field(default_factory=dict[str, None])
    """In the order in which they finished; a node that expands finishes with each node inside."""
    cached: list[str] = field(default_factory=list[str])
    warned: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Nodes and what they warned of, or why a value that they need is blocked."""
    failed: list[events.Failed] = field(default_factory=list[events.Failed])
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    """Nodes that did not run, and the node that is why: it failed, or blocked a value."""
    texts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case events.Written(node, files, _):
                self.files.setdefault(node, []).extend(files)
            case events.Shown(node, texts):
                self.texts.setdefault(node, []).extend(texts)
            case events.Finished(node):
                self.executed[node] = None
            case events.Cached(nodes):
                self.cached.extend(nodes)
            case events.Warned(node, message) | events.Blocked(node, message):
                self.warned.append((node, message))
            case events.Failed():
                self.failed.append(event)
            case events.Skipped(node, because):
                self.skipped.setdefault(node, because)
            case _:
                pass


@dataclass(slots=True)
class Guarded:
    """Hands events to sinks; when one cannot write, the run is asked to stop, and `fault` says why."""

    sinks: tuple[Sink, ...]
    cancel: CancelToken
    fault: OSError | None = None

    def __call__(self, event: Event) -> None:
        """Hand an event on."""
        if self.fault is not None:
            return
        try:
            for sink in self.sinks:
                sink(event)
        except OSError as error:  # raised further, it would look like the fault of a node that reports progress
            self.fault = error
            self.cancel.cancel()


@dataclass(slots=True)
class Sparing:
    """Hands events on, of the cache's problems one a reason: one that cannot be written to says so at every node."""

    sink: Sink
    reasons: set[str] = field(default_factory=set[str])

    def __call__(self, event: Event) -> None:
        """Hand an event on."""
        if isinstance(event, events.CacheProblem):
            if event.reason in self.reasons:
                return
            self.reasons.add(event.reason)
        self.sink(event)


def json_lines(stdout: TextIO, event: Event) -> None:
    """One event as a line of JSON."""
    click.echo(json.dumps(event.as_json()), stdout)


def paths(stdout: TextIO, event: Event) -> None:
    """Where files went: a line each."""
    if isinstance(event, events.Written):
        for path in event.files:
            click.echo(str(path), stdout)


def notice(event: Event, name: Naming) -> str | None:
    """What an event has to say besides progress."""
    match event:
        case events.Warned(node, message):
            return f"warning: {name(node)}: {printable(message)}"
        case events.Blocked(node, message):
            return f"{name(node)} did not run: {printable(message)}"
        case events.CacheProblem(path, reason):
            return f"warning: the cache{f' entry {path}' if path else ''} is not used: {reason}"
        case events.Completed(executed, cached, failed, seconds):
            failures = f", {failed} failed" if failed else ""
            return f"{executed} computed, {cached} kept from earlier{failures}, in {seconds:.1f} s"
        case _:
            return None


@dataclass(slots=True)
class Lines:
    """Progress as plain lines on stderr: one when a node starts."""

    name: Naming
    total: int = 0
    seen: set[str] = field(default_factory=set[str])

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case events.Planned(nodes):
                self.total = nodes
            case events.Cached(nodes):
                self.seen.update(nodes)
                click.echo(f"{len(self.seen)}/{self.total} kept from earlier", err=True)
            case events.Started(node, class_type) if node not in self.seen:
                self.seen.add(node)
                click.echo(printable(f"{len(self.seen)}/{self.total} {class_type} ({node}) ..."), err=True)
            case _:
                if (text := notice(event, self.name)) is not None:
                    click.echo(text, err=True)


@dataclass(slots=True)
class Bars:
    """Progress as bars on a terminal: one for the graph, one for each node that reports its steps."""

    name: Naming
    total: int = 0
    done: set[str] = field(default_factory=set[str])
    graph: Any = None
    steps: Any = None

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case events.Planned(nodes):
                self.total = nodes
            case events.Cached(nodes):
                self._advance(*nodes)
            case events.Started(node, class_type):
                self._start(f"{class_type} ({node})")
            case events.Progressed(node, done, total):
                self._step(node, done, total)
            case events.Finished(node) | events.Failed(node) | events.Skipped(node):
                self._end_steps()
                self._advance(node)
            case _:
                self._other(event)

    def _other(self, event: Event) -> None:
        if isinstance(event, events.Completed | events.Interrupted):
            self._close()
        self._clear()  # so that what is written next, here or to stdout, stands on a line of its own
        if (text := notice(event, self.name)) is not None:
            click.echo(text, err=True)

    def _start(self, what: str) -> None:
        if self.graph is None:
            self.graph = _bar("graph", "node", self.total, len(self.done), 0)
        self.graph.set_postfix_str(printable(what))

    def _advance(self, *nodes: str) -> None:
        fresh = set(nodes) - self.done
        self.done |= fresh
        if self.graph is not None:
            self.graph.update(len(fresh))

    def _step(self, node: str, done: int, total: int) -> None:
        if self.steps is None:
            self.steps = _bar(self.name(node), "step", total, 0, 1)
        self.steps.total = total
        self.steps.update(done - self.steps.n)

    def _end_steps(self) -> None:
        if self.steps is not None:
            self.steps.close()
            self.steps = None

    def _clear(self) -> None:
        for bar in (self.steps, self.graph):
            if bar is not None:
                bar.clear()

    def _close(self) -> None:
        self._end_steps()
        if self.graph is not None:
            self.graph.close()


def _bar(what: str, unit: str, total: int, initial: int, position: int) -> Any:
    from tqdm import tqdm

    return tqdm(
        desc=what,
        unit=unit,
        total=total,
        initial=initial,
        position=position,
        leave=position == 0,
        file=sys.stderr,
        dynamic_ncols=True,
    )
