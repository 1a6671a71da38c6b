"""All that a run needs from outside, in one object: there are no globals."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphexec.errors import Cancelled, ModelFileError, NodeDefinitionError
from graphexec.graph.cache import Cache, Careful, NullCache
from graphexec.graph.digests import FileDigests
from graphexec.graph.events import CacheProblem, Sink, ignore
from graphexec.graph.flights import Flights
from graphexec.graph.keys import canonical
from graphexec.graph.plan import Plan, PlannedNode
from graphexec.node.registry import ResourceFactory


class CancelToken:
    """Asks runs to stop; may be used from any thread. A child stops with its parent, not the other way round."""

    def __init__(self, parent: CancelToken | None = None) -> None:
        self._event = threading.Event()
        self._parent = parent

    def cancel(self) -> None:
        """Ask every run that holds this token to stop at its next step."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set() or (self._parent is not None and self._parent.cancelled)

    def check(self) -> None:
        """Raise Cancelled if the run is to stop."""
        if self.cancelled:
            raise Cancelled("the run was asked to stop")


class Resources:
    """What nodes share during and between the runs of one context: made when first asked for, once for its settings."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[str, ResourceFactory, bytes], Any] = {}

    def get(self, name: str, factories: Mapping[str, ResourceFactory], settings: Mapping[str, str]) -> Any:
        """The resource `name`, made by its pack's factory from the settings."""
        if name not in factories:
            raise NodeDefinitionError(f"no installed pack supplies the resource {name!r}")
        place = name, factories[name], canonical(dict(settings))  # contexts with other settings may share this
        with self._lock:
            if place not in self._made:
                self._made[place] = factories[name](settings)
            return self._made[place]


@dataclass(frozen=True, slots=True)
class Context:
    """Where a run reads and writes, what it keeps, and who listens; two contexts share nothing."""

    cache: Cache = field(default_factory=NullCache)
    digests: FileDigests = field(default_factory=lambda: FileDigests(None))
    output: str | Path = "output"
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Settings of resources, e.g. `{"device": "cpu"}`."""
    on_event: Sink = ignore
    cancel: CancelToken = field(default_factory=CancelToken)
    resources: Resources = field(default_factory=Resources)
    flights: Flights = field(default_factory=Flights)

    def keys(self, plan: Plan) -> dict[str, bytes | None]:
        """The cache key of every node of a plan here; None where nothing is kept, or a model file cannot be read."""
        if isinstance(self.cache, NullCache):
            return dict.fromkeys(plan.nodes)
        return plan.keys(self._contents(plan.files), canonical(dict(self.settings)))

    def key(self, planned: PlannedNode, keys: Mapping[str, bytes | None]) -> bytes | None:
        """The cache key of one node, from those of the nodes it is linked to."""
        if isinstance(self.cache, NullCache):
            return None
        return planned.key(keys, self._contents(planned.files), canonical(dict(self.settings)))

    def careful(self) -> Careful:
        """The cache, but what it raises is told, and is a miss."""
        kind = type(self.cache).__name__

        def tell(error: Exception) -> None:
            self.on_event(CacheProblem(None, f"{kind} raised {type(error).__name__}: {error}"))

        return Careful(self.cache, tell)

    def _contents(self, paths: Iterable[Path]) -> dict[Path, bytes]:
        """The digests of files; one that cannot be read has none: the node that reads it tells why."""
        found: dict[Path, bytes] = {}
        for path in paths:
            with suppress(ModelFileError):
                found[path] = self.digests.digest(path, self.cancel.check)
        return found
