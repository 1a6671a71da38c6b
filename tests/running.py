"""Short ways to compile and run small workflows of fake nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fake_nodes

from graphexec.errors import Diagnostic
from graphexec.graph.cache import Cache, NullCache
from graphexec.graph.compile import Compiled, check
from graphexec.graph.compile import compile as compile_workflow
from graphexec.graph.context import Context
from graphexec.graph.events import Event
from graphexec.graph.execute import run
from graphexec.graph.folders import Folders
from graphexec.graph.plan import Plan
from graphexec.graph.result import Result
from graphexec.node.registry import Registry

REGISTRY = Registry().with_nodes(fake_nodes)
NOWHERE = Folders.from_roots()

Nodes = Mapping[str, tuple[str, Mapping[str, Any]]]


def workflow(nodes: Nodes) -> dict[str, Any]:
    """{id: (class, inputs)} in the API format."""
    return {name: {"class_type": kind, "inputs": dict(inputs)} for name, (kind, inputs) in nodes.items()}


def shown(*source: Any) -> tuple[str, dict[str, Any]]:
    """A node that shows a value: `shown("a", 0)` the first output of the node "a"."""
    return ("Show", {"source": list(source)})


def checked(nodes: Nodes, **options: Any) -> Compiled:
    return check(workflow(nodes), registry=REGISTRY, folders=NOWHERE, **options)


def faults(nodes: Nodes, **options: Any) -> list[tuple[str, str | None, str | None]]:
    """(code, node, input) of everything found, except that a fault upstream leaves nodes unused."""
    return [(d.code, d.node, d.input) for d in _beyond_unused(checked(nodes, **options))]


def only(nodes: Nodes, **options: Any) -> Diagnostic:
    """The one thing found, besides nodes left unused by it."""
    (diagnostic,) = _beyond_unused(checked(nodes, **options))
    return diagnostic


def _beyond_unused(compiled: Compiled) -> list[Diagnostic]:
    found = [d for d in compiled.diagnostics if d.code != "unused_node"]
    return found or list(compiled.diagnostics)


def planned(nodes: Nodes, **options: Any) -> Plan:
    return compile_workflow(workflow(nodes), registry=REGISTRY, folders=NOWHERE, **options)


@dataclass
class Bench:
    """A place to run in, which remembers every event and call."""

    output: Path = Path("/nonexistent")
    cache: Cache = field(default_factory=NullCache)
    events: list[Event] = field(default_factory=list[Event])

    def __post_init__(self) -> None:
        self.context = Context(cache=self.cache, output=self.output, on_event=self.events.append)

    @property
    def log(self) -> list[str]:
        return self.context.resources.get("log", REGISTRY.resources, {})

    def run(self, nodes: Nodes, targets: Sequence[str] | None = None) -> Result:
        self.events.clear()
        self.log.clear()
        return run(planned(nodes, targets=targets), self.context)

    def seen(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]
