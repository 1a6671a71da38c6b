"""Runs a plan: what is cached is not computed, what fails does not spoil what does not need it."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from graphexec.errors import Cancelled, NodeError
from graphexec.graph import events
from graphexec.graph.asynchronous import AsyncCalls
from graphexec.graph.boundary import Raised
from graphexec.graph.call import Collected, LazyBlocked, Outputs, Suspend, call_all, gather
from graphexec.graph.context import CancelToken, Context
from graphexec.graph.expand import Expansion, expand_node
from graphexec.graph.keys import canonical
from graphexec.graph.plan import Plan, PlannedNode
from graphexec.graph.publish import Publisher
from graphexec.graph.topology import ancestors
from graphexec.node.fields import Blocker, Graph, WorkflowInfo
from graphexec.node.spec import Hidden


@dataclass(frozen=True, slots=True)
class Result:
    """What a run left behind, by the ids of the workflow."""

    outputs: Mapping[str, Outputs]
    """For each target: output slot -> the items of its list."""
    files: Mapping[str, tuple[Path, ...]]
    texts: Mapping[str, tuple[str, ...]]
    failures: Mapping[str, NodeError]
    executed: tuple[str, ...]
    cached: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether no node failed."""
        return not self.failures

    def value(self, node: str, slot: int = 0) -> Any:
        """The single value of an output; raises the NodeError of a node that failed, KeyError for no target."""
        if node in self.failures:
            raise self.failures[node]
        items = self.outputs[node][slot]
        if len(items) != 1:
            raise ValueError(f"output {slot} of node {node} is a list of {len(items)}; read `outputs` instead")
        return items[0]


def run(plan: Plan, context: Context | None = None) -> Result:
    """Run a plan and wait for it; raises Cancelled if it was asked to stop. Failures are in the result."""
    execution = Execution.of(plan, context or Context())
    if not _in_event_loop():
        return execution.run()
    with ThreadPoolExecutor(1) as pool:  # the loop of asynchronous nodes cannot run inside another
        return pool.submit(execution.run).result()


async def run_async(plan: Plan, context: Context | None = None) -> Result:
    """As `run`, on a thread of its own; cancelling the task stops the run at its next step."""
    context = context or Context()
    token = CancelToken(context.cancel)
    try:
        return await asyncio.to_thread(run, plan, replace(context, cancel=token))
    except asyncio.CancelledError:
        token.cancel()
        raise


def stream(plan: Plan, context: Context | None = None) -> Iterator[events.Event]:
    """Run a plan and yield its events as they come; closing the iterator stops the run.

    Raises what `run` raises, after the last event.
    """
    context = context or Context()
    token = CancelToken(context.cancel)
    queue: SimpleQueue[events.Event | None] = SimpleQueue()

    def tell(event: events.Event) -> None:
        context.on_event(event)
        queue.put(event)

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(run, plan, replace(context, cancel=token, on_event=tell))
        job.add_done_callback(lambda _: queue.put(None))
        try:
            yield from iter(queue.get, None)
            job.result()
        finally:
            token.cancel()


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@dataclass(slots=True)
class Execution:
    """One run of one plan: the state of every node that it has met."""

    plan: Plan
    context: Context
    keys: dict[str, bytes | None]
    nodes: dict[str, PlannedNode]
    rank: dict[str, int]
    wanted: frozenset[str]
    publisher: Publisher
    values: dict[str, Outputs] = field(default_factory=dict[str, Outputs])
    waiting: dict[str, int] = field(default_factory=dict[str, int])
    """Scheduled nodes and how many of their sources are not there yet."""
    consumers: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Scheduled nodes by the source that they wait for."""
    uses: dict[str, int] = field(default_factory=dict[str, int])
    """How many scheduled nodes may still read a node's value."""
    ready: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    expansions: dict[str, Expansion] = field(default_factory=dict[str, Expansion])
    failures: dict[str, NodeError] = field(default_factory=dict[str, NodeError])
    spoiled: dict[str, str] = field(default_factory=dict[str, str])
    """Nodes that cannot run, and the failed node that is why."""
    executed: list[str] = field(default_factory=list[str])
    hits: list[str] = field(default_factory=list[str])
    told: set[str] = field(default_factory=set[str])
    """Nodes that were said to be cached."""
    reported: list[Blocker] = field(default_factory=list[Blocker])
    calls: AsyncCalls = field(default_factory=AsyncCalls)
    _info: WorkflowInfo | None = None

    @classmethod
    def of(cls, plan: Plan, context: Context) -> Execution:
        ranks = {name: place for place, name in enumerate(plan.nodes)}
        return cls(
            plan, context, context.keys(plan), dict(plan.nodes), ranks, frozenset(plan.targets), Publisher(context)
        )

    def run(self) -> Result:
        """Run until every target is there or cannot be."""
        begun = time.perf_counter()
        emit = self.context.on_event
        emit(events.Planned(len(self.plan.nodes), self.plan.targets))
        try:
            self._schedule(self.plan.targets)
            self._tell_cached()
            self._work()
        except Cancelled:
            emit(events.Interrupted())
            raise
        finally:
            self.calls.close()
        seconds = time.perf_counter() - begun
        result = self._result()
        emit(events.Completed(len(result.executed), len(result.cached), len(result.failures), seconds))
        return result

    def _work(self) -> None:
        while self.ready or self.calls:
            self.context.cancel.check()
            if self.ready:
                self._turn(heapq.heappop(self.ready)[1])
            for name, outcome in self.calls.finished(wait=not self.ready, cancel=self.context.cancel):
                self._settle(name, outcome)

    # Scheduling

    def _schedule(self, names: Iterable[str]) -> None:
        """Take nodes and all that they need into the run, unless their results are kept."""
        pending = list(reversed(list(names)))
        fresh: list[str] = []
        while pending:
            name = pending.pop()
            if name in self.waiting or name in self.values or name in self.spoiled:
                continue
            if self._recall(name):
                continue
            self.waiting[name] = 0
            fresh.append(name)
            for wire in self.nodes[name].wires:
                self.uses[wire.node] = self.uses.get(wire.node, 0) + 1
                if not wire.lazy:
                    pending.append(wire.node)
        for name in fresh:
            self._wait_for(name, {wire.node for wire in self.nodes[name].wires if not wire.lazy})

    def _wait_for(self, name: str, sources: Iterable[str]) -> None:
        """Let a node's turn come once these sources are there."""
        missing = 0
        for source in sources:
            if source in self.spoiled:
                self._spoil(name, self.spoiled[source])
                return
            if source not in self.values:
                self.consumers.setdefault(source, []).append(name)
                missing += 1
        self.waiting[name] = missing
        if missing == 0:
            heapq.heappush(self.ready, (self.rank[name], name))

    def _recall(self, name: str) -> bool:
        """Take a node's result from the cache, if it is there."""
        key = self.keys[name]
        kept = self.context.cache.get(key) if key is not None else None
        if kept is None:
            return False
        self.hits.append(name)
        self._store(name, kept, key)
        return True

    def _store(self, name: str, kept: Outputs, key: bytes | None) -> None:
        """Hold a node's outputs; an output node's files go to their places."""
        spec = self.nodes[name].spec
        self.values[name] = kept
        if spec.artifact_slots:
            self.values[name] = kept[:-1]
            self.publisher.publish(self._shown(name), kept[-1][0], key)

    def _tell_cached(self) -> None:
        """Name the nodes that need not run: those with a kept result, and what only they need."""
        wires = {name: [wire.node for wire in self.nodes[name].wires] for name in self.nodes} if self.hits else {}
        idle = ancestors(self.hits, wires) - self.waiting.keys() - self.told
        if idle:
            self.told |= idle
            self.context.on_event(events.Cached(tuple(name for name in self.plan.nodes if name in idle)))

    # One node's turn

    def _turn(self, name: str) -> None:
        if name in self.spoiled:
            return
        expansion = self.expansions.pop(name, None)
        if expansion is not None:
            self._finish(name, expansion.collect(self.values), time.perf_counter())
            self._release(expansion.sources)
            return
        begun = time.perf_counter()
        planned = self.nodes[name]
        if self.context.on_event is not events.ignore:
            self.context.on_event(events.Started(self._shown(name), planned.spec.name))
        try:
            arguments = gather(planned, self.values, self._hidden(name, planned), self._need)
            if planned.spec.is_async:
                self.calls.start(name, planned.spec, arguments, self._on_block(name))
                return
            outcome = call_all(planned.spec, arguments, self._on_block(name))
        except (Suspend, LazyBlocked) as left:
            self._left(name, left)
            return
        self._finish(name, outcome, begun)

    def _settle(self, name: str, outcome: Collected | Raised | BaseException) -> None:
        """An asynchronous node is done."""
        if isinstance(outcome, Suspend | LazyBlocked):
            self._left(name, outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            self._finish(name, outcome, time.perf_counter())

    def _left(self, name: str, left: Suspend | LazyBlocked) -> None:
        """The node called a lazy input that is not there: compute it first; or one that is blocked: so is the node."""
        if isinstance(left, LazyBlocked):
            self._on_block(name)(left.blocker)
            collected = Collected.empty(self.nodes[name].spec)
            collected.block()
            self._finish(name, collected, time.perf_counter())
            return
        hits = len(self.hits)
        self._schedule([left.source])
        if len(self.hits) > hits:
            self._tell_cached()
        self._wait_for(name, [left.source])

    def _need(self, source: str) -> Outputs:
        if source not in self.values:
            raise Suspend(source)
        return self.values[source]

    def _hidden(self, name: str, planned: PlannedNode) -> dict[str, Any]:
        return {parameter: self._supply(name, hidden) for parameter, hidden in planned.spec.hidden.items()}

    def _supply(self, name: str, hidden: Hidden) -> Any:
        context = self.context
        match hidden.kind:
            case "node_id":
                return self._shown(name)
            case "progress":
                return self._progress(name)
            case "warn":
                return self._warn(name)
            case "workflow":
                workflow = self.plan.workflow
                self._info = self._info or WorkflowInfo(workflow.prompt, workflow.extra_pnginfo)
                return self._info
            case "graph":
                return Graph()
            case "resource":
                return context.resources.get(hidden.resource, self.plan.registry.resources, context.settings)

    def _progress(self, name: str) -> Callable[[int, int], None]:
        context, shown = self.context, self._shown(name)

        def progress(done: int, total: int, /) -> None:
            context.cancel.check()
            context.on_event(events.Progressed(shown, done, total))

        return progress

    def _warn(self, name: str) -> Callable[[str], None]:
        shown = self._shown(name)
        said = {diagnostic.message for diagnostic in self.plan.diagnostics if diagnostic.node == shown}

        def warn(message: str, /) -> None:
            if message not in said:  # the compiler has said it already
                self.context.on_event(events.Warned(shown, message))

        return warn

    def _on_block(self, name: str) -> Callable[[Blocker], None]:
        def report(blocker: Blocker) -> None:
            if blocker.message is not None and not any(blocker is known for known in self.reported):
                self.reported.append(blocker)
                self.context.on_event(events.Blocked(self._shown(name), blocker.message))

        return report

    # What came of it

    def _finish(self, name: str, outcome: Collected | Raised, begun: float) -> None:
        planned = self.nodes[name]
        if isinstance(outcome, Raised):
            self._fail(name, outcome.error)
            return
        if outcome.expansions:
            self._expand(name, outcome)
            return
        key = self.keys[name]
        kept: Outputs = tuple(outcome.slots)
        if planned.spec.artifact_slots:
            kept = (*kept, [outcome.artifacts])
        if key is not None and not outcome.blocked:
            self.context.cache.put(key, kept)
        self.executed.append(name)
        if self.context.on_event is not events.ignore:
            seconds = time.perf_counter() - begun
            self.context.on_event(events.Finished(self._shown(name), planned.spec.name, seconds))
        self._store(name, kept, key)
        self._release(wire.node for wire in planned.wires)
        self._wake(name)

    def _wake(self, name: str) -> None:
        del self.waiting[name]
        for consumer in self.consumers.pop(name, ()):
            if consumer in self.spoiled:
                continue
            self.waiting[consumer] -= 1
            if self.waiting[consumer] == 0:
                heapq.heappush(self.ready, (self.rank[consumer], consumer))

    def _release(self, sources: Iterable[str]) -> None:
        """Let go of values that nothing will read any more."""
        for source in sources:
            self.uses[source] -= 1
            if self.uses[source] == 0 and source not in self.wanted:
                self.values.pop(source, None)

    def _expand(self, name: str, collected: Collected) -> None:
        """Put the graph that a node returned into the run, and let the node wait for it."""
        expanded = expand_node(self.nodes[name], collected, self.values, self.plan, number=len(self.nodes))
        if isinstance(expanded, Raised):
            self._fail(name, expanded.error)
            return
        digests = expanded.digests(self.context.digests)
        for planned in expanded.nodes:
            self.rank[planned.id] = -len(self.nodes)  # before whatever else waits: depth first
            self.nodes[planned.id] = planned
            self.keys[planned.id] = planned.key(self.keys, digests, canonical(dict(self.context.settings)))
        if expanded.has_output:
            self.keys[name] = None  # a kept result would leave out what the nodes inside write
        self.expansions[name] = expanded
        wanted = expanded.sources
        for source in wanted:
            self.uses[source] = self.uses.get(source, 0) + 1
        self._schedule(wanted)
        self._wait_for(name, wanted)

    def _fail(self, name: str, error: Exception) -> None:
        shown, class_type = self._shown(name), self.nodes[name].spec.name
        failure = NodeError(shown, class_type, error)
        failure.__cause__ = error
        self.failures[shown] = failure
        self.context.on_event(events.Failed(shown, class_type, type(error).__name__, str(error)))
        self._spoil(name, shown)

    def _spoil(self, name: str, because: str) -> None:
        """Whatever needs a failed node cannot run."""
        pending = [name]
        while pending:
            current = pending.pop()
            if current in self.spoiled:
                continue
            self.spoiled[current] = because
            if self.waiting.pop(current, None) is not None:
                self._release(wire.node for wire in self.nodes[current].wires)
            pending.extend(self.consumers.pop(current, ()))
            if self._shown(current) != because:
                self.context.on_event(events.Skipped(self._shown(current), because))

    def _shown(self, name: str) -> str:
        """The id in the workflow of the node that this one came from."""
        return name.split("\x00", 1)[0]

    def _result(self) -> Result:
        skipped = (self._shown(name) for name in self.spoiled)
        return Result(
            outputs={name: self.values[name] for name in self.plan.targets if name in self.values},
            files=self.publisher.files,
            texts=self.publisher.texts,
            failures=self.failures,
            executed=tuple(name for name in self.executed if name in self.plan.nodes),
            cached=tuple(name for name in self.plan.nodes if name in self.told),
            skipped=tuple(dict.fromkeys(name for name in skipped if name not in self.failures)),
        )
