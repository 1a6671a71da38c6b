"""Runs a plan: what is cached is not computed, what fails does not spoil what does not need it."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from graphexec.errors import Cancelled, ModelFileError, NodeError
from graphexec.graph import events
from graphexec.graph.asynchronous import AsyncCalls, Outcome
from graphexec.graph.cache import NullCache
from graphexec.graph.call import Arguments, Collected, Outputs, Suspend, blocking, call_all, gather
from graphexec.graph.context import Context
from graphexec.graph.copies import copied
from graphexec.graph.expand import Expansion, expand_node
from graphexec.graph.plan import Plan, PlannedNode, Wire, by_each_id
from graphexec.graph.publish import Publisher
from graphexec.graph.result import Result
from graphexec.graph.supply import Supply
from graphexec.node.boundary import Raised, let_go


@dataclass(slots=True)
class Execution:
    """One run of one plan: the state of every node that it has met."""

    plan: Plan
    context: Context
    nodes: dict[str, PlannedNode]
    rank: dict[str, int]
    wanted: frozenset[str]
    publisher: Publisher
    supply: Supply
    keys: dict[str, bytes | None] = field(default_factory=dict[str, bytes | None])
    values: dict[str, Outputs] = field(default_factory=dict[str, Outputs])
    waiting: dict[str, int] = field(default_factory=dict[str, int])
    """Scheduled nodes and how many of their sources are not there yet."""
    foreseen: set[str] = field(default_factory=set[str])
    """Nodes that run only if a lazy input is called; they hold what they need all the same."""
    consumers: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Scheduled nodes by the source that they wait for."""
    uses: dict[str, int] = field(default_factory=dict[str, int])
    """How many inputs of scheduled and foreseen nodes may still read a node's value."""
    begun: dict[str, float] = field(default_factory=dict[str, float])
    """When the nodes began that are not done yet."""
    partial: dict[str, tuple[Arguments, Collected]] = field(default_factory=dict[str, tuple[Arguments, Collected]])
    """What the calls of a node returned before one of them had to wait for a lazy input."""
    inside: dict[str, str] = field(default_factory=dict[str, str])
    """Nodes of expansions, and the node of the workflow that each came from."""
    opened: set[str] = field(default_factory=set[str])
    """Nodes whose key is known only now, because an expansion takes part in it."""
    ready: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    expansions: dict[str, Expansion] = field(default_factory=dict[str, Expansion])
    failures: dict[str, NodeError] = field(default_factory=dict[str, NodeError])
    fresh: list[Exception] = field(default_factory=list[Exception])
    """What nodes raised just now, with all that they were working on."""
    spoiled: dict[str, str] = field(default_factory=dict[str, str])
    """Nodes that cannot run, and the failed node that is why."""
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    """Those of the workflow that did not begin, and the node that is why: it failed, or blocked a value."""
    executed: dict[str, None] = field(default_factory=dict[str, None])
    hits: list[str] = field(default_factory=list[str])
    """Nodes whose kept results were found since it was last told."""
    told: set[str] = field(default_factory=set[str])
    """Nodes that were said to be cached."""
    calls: AsyncCalls = field(default_factory=AsyncCalls)

    @classmethod
    def of(cls, plan: Plan, context: Context) -> Execution:
        if not plan.files_found:
            raise ModelFileError("the plan's model files were not looked for: compile it without check_files=False")
        if context.on_event is not events.ignore:
            context = replace(context, on_event=events.carrying(context.on_event))
        if not isinstance(context.cache, NullCache):
            context = replace(context, cache=context.careful())
        rank = {name: place for place, name in enumerate(plan.nodes)}
        nodes, wanted = dict(plan.nodes), frozenset(plan.targets)
        return cls(plan, context, nodes, rank, wanted, Publisher(context), Supply(context, plan))

    def run(self) -> Result:
        """Run until every target is there or cannot be; raises what the context's sink raises."""
        try:
            return self._run()
        except events.SinkFailed as failed:
            error = failed.error
        raise error  # out here, where it keeps a cause and context of its own

    def _run(self) -> Result:
        begun = time.perf_counter()
        emit = self.context.on_event
        emit(events.Planned(len(self.plan.nodes), self.plan.targets))
        try:
            self.keys = self.context.keys(self.plan)
            self._schedule(self.plan.targets)
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
            if self.fresh:
                let_go(self.fresh)
                self.fresh.clear()

    # Scheduling

    def _schedule(self, names: Iterable[str]) -> None:
        """Take nodes and all that they need into the run, unless their results are kept."""
        pending = list(reversed(list(names)))
        fresh: list[str] = []
        lazy: list[str] = []
        while pending:
            name = pending.pop()
            if name in self.waiting or name in self.values or name in self.spoiled:
                continue
            wires = self.nodes[name].wires
            known = name in self.foreseen
            self.foreseen.discard(name)
            if self._recall(name) or self._refused(name):
                self._release(wire.node for wire in wires if known)
                continue
            if not known:
                self._use(wires)
            self.waiting[name] = 0
            fresh.append(name)
            for wire in wires:
                (lazy if wire.lazy else pending).append(wire.node)
        for name in fresh:
            self._wait_for(name, dict.fromkeys(wire.node for wire in self.nodes[name].wires if not wire.lazy))
        self._foresee(lazy)
        self._tell_cached()

    def _foresee(self, pending: list[str]) -> None:
        """Hold what lazy inputs would need, should they be called, so that nothing is computed twice."""
        while pending:
            name = pending.pop()
            if name in self.waiting or name in self.values or name in self.spoiled or name in self.foreseen:
                continue
            self.foreseen.add(name)
            self._use(self.nodes[name].wires)
            pending.extend(wire.node for wire in self.nodes[name].wires)

    def _use(self, wires: Iterable[Wire]) -> None:
        for wire in wires:
            self.uses[wire.node] = self.uses.get(wire.node, 0) + 1

    def _wait_for(self, name: str, sources: Iterable[str]) -> None:
        """Let a node's turn come once these sources are there."""
        if name not in self.waiting:  # who wanted it failed meanwhile
            return
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
        if self._store(name, kept, key):
            self.hits.append(name)
        return True

    def _refused(self, name: str) -> bool:
        """Whether an output node fails before what it needs is computed, since its files could not be written."""
        refused = self.publisher.refusal(self.nodes[name])
        if refused is not None:
            self._fail(name, refused.error)
        return refused is not None

    def _store(self, name: str, kept: Outputs, key: bytes | None) -> bool:
        """Hold a node's outputs; an output node's files go to their places, or else the node has failed."""
        if self.nodes[name].spec.artifact_slots:
            refused = self.publisher.publish(self._shown(name), kept[-1][0], key)
            if refused is not None:
                self._fail(name, refused.error)
                return False
            kept = kept[:-1]
        self.values[name] = kept
        return True

    def _tell_cached(self) -> None:
        """Name the nodes that need not run: those with a kept result, and what only they need."""
        pending = [name for name in self.hits if name in self.plan.nodes]
        self.hits.clear()
        idle: list[str] = []
        while pending:
            name = pending.pop()
            known = name in self.told or name in self.executed or name in self.spoiled
            if not (known or name in self.waiting or name in self.foreseen):
                self.told.add(name)
                idle.append(name)
                pending.extend(wire.node for wire in self.nodes[name].wires)
        if idle:
            self.context.on_event(events.Cached(tuple(sorted(idle, key=self.rank.__getitem__))))

    # One node's turn

    def _turn(self, name: str) -> None:
        if name not in self.waiting:
            return
        if name in self.expansions:
            self._collect(name, self.expansions.pop(name))
        elif name in self.begun:
            self._call(name)
        elif self.opened and self._rekey(name) and self._recall(name):
            self._recalled(name)
        else:
            self._begin(name)

    def _begin(self, name: str) -> None:
        """Call a node for the first time, unless another run has called it meanwhile and what it returned is kept."""
        key = self.keys[name]
        if key is None or self.nodes[name].spec.is_async:  # one that is at work while others are waited for
            self._call(name)
            return
        with self.context.flights.joined(key, self.context.cancel.check):
            if self.context.cache.contains(key) and self._recall(name):
                self._recalled(name)
            else:
                self._call(name)

    def _recalled(self, name: str) -> None:
        """Take note of a node whose result turned out to be kept when its turn came."""
        if name in self.values:
            self._release(wire.node for wire in self.nodes[name].wires)
            self._wake(name)
        self._tell_cached()

    def _call(self, name: str) -> None:
        planned = self.nodes[name]
        prepared = self.partial.pop(name, None) or self._prepare(name, planned)
        if isinstance(prepared, Raised):
            self._fail(name, prepared.error)
        elif planned.spec.is_async and name in self.begun:
            self.partial[name] = prepared
            self.calls.start(name, *prepared, self.supply.on_block(self._shown(name)))
        else:
            try:
                outcome = call_all(*prepared, self.supply.on_block(self._shown(name)), self.context.cancel.check)
            except Suspend as left:
                self.partial[name] = prepared
                self._left(name, left)
                return
            self._finish(name, outcome)

    def _prepare(self, name: str, planned: PlannedNode) -> tuple[Arguments, Collected] | Raised:
        """Gather a node's arguments; it begins, unless all that it would be called with is blocked."""
        arguments = gather(planned, self.values, self._need)
        if not arguments.blocked:
            self.begun[name] = time.perf_counter()
            if self.context.on_event is not events.ignore:
                self.context.on_event(events.Started(self._shown(name), planned.spec.name))
            hidden = self.supply.hidden(self._shown(name), planned.spec)
            if isinstance(hidden, Raised):
                return hidden
            arguments.fixed.update(hidden)
        return arguments, Collected.empty(planned.spec)

    def _settle(self, name: str, outcome: Outcome) -> None:
        """An asynchronous node is done."""
        if isinstance(outcome, Suspend):
            self._left(name, outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            self._finish(name, outcome)

    def _left(self, name: str, left: Suspend) -> None:
        """The node called a lazy input that is not there: compute it first."""
        self._schedule([left.source])
        self._wait_for(name, [left.source])

    def _need(self, source: str) -> Outputs:
        if source not in self.values:
            raise Suspend(source)
        return self.values[source]

    # What came of it

    def _finish(self, name: str, outcome: Collected | Raised, *, keep: bool = True) -> None:
        if isinstance(outcome, Raised):
            self._fail(name, outcome.error)
            return
        if outcome.expansions:
            self._expand(name, outcome)
            return
        planned = self.nodes[name]
        if self.opened:
            self._rekey(name)
        key = self.keys[name]
        kept: Outputs = tuple(outcome.slots)
        if planned.spec.artifact_slots:
            kept = (*kept, [outcome.artifacts])
        if keep and key is not None and not outcome.blocked:
            self.context.cache.put(key, kept)
        if not self._store(name, kept, key):
            return
        (self._done if name in self.begun else self._blocked)(name, planned)
        if not self.uses.get(name) and name not in self.wanted:
            del self.values[name]  # who wanted it failed meanwhile
        self._release(wire.node for wire in planned.wires)
        self._wake(name)

    def _done(self, name: str, planned: PlannedNode) -> None:
        """Take note of a node that has computed its outputs."""
        self.partial.pop(name, None)
        self.executed[name] = None
        seconds = time.perf_counter() - self.begun.pop(name)
        shown = self._shown(name)
        if self.context.on_event is not events.ignore and shown not in self.failures:
            self.context.on_event(events.Finished(shown, planned.spec.name, seconds))

    def _blocked(self, name: str, planned: PlannedNode) -> None:
        """Take note of a node that blocked values kept from beginning."""
        if name not in self.inside:
            source = self._shown(blocking(planned, self.values))
            self._skip(name, self.skipped.get(source, source))

    def _skip(self, name: str, because: str) -> None:
        self.skipped[name] = because
        self.context.on_event(events.Skipped(name, because))

    def _wake(self, name: str) -> None:
        del self.waiting[name]
        for consumer in self.consumers.pop(name, ()):
            missing = self.waiting.get(consumer)
            if missing is None:  # it failed, or nobody wants it any more
                continue
            self.waiting[consumer] = missing - 1
            if missing == 1:
                heapq.heappush(self.ready, (self.rank[consumer], consumer))

    def _release(self, sources: Iterable[str]) -> None:
        """Let go of values that nothing will read any more, and of nodes that would only have led to them."""
        pending = list(sources)
        while pending:
            source = pending.pop()
            self.uses[source] -= 1
            if self.uses[source] or source in self.wanted:
                continue
            if self.values.pop(source, None) is None and source not in self.begun:
                if source in self.foreseen or source in self.waiting:
                    pending.extend(wire.node for wire in self.nodes[source].wires)
                self.foreseen.discard(source)
                self.waiting.pop(source, None)

    def _expand(self, name: str, collected: Collected) -> None:
        """Put the graph that a node returned into the run, and let the node wait for it."""
        shown, number = self._shown(name), len(self.nodes)
        expanded = expand_node(self.nodes[name], collected, self.values, self.plan, f"{shown}\0{number}.")
        if isinstance(expanded, Raised):
            self._fail(name, expanded.error)
            return
        for planned in expanded.nodes:
            self.rank[planned.id] = -len(self.nodes)  # before whatever else waits: depth first
            self.nodes[planned.id] = planned
            self.inside[planned.id] = shown
            self.keys[planned.id] = self.context.key(planned, self.keys)
        self.expansions[name] = expanded
        wanted = expanded.sources
        for source in wanted:
            self.uses[source] = self.uses.get(source, 0) + 1
        self._schedule(wanted)
        self._wait_for(name, wanted)

    def _collect(self, name: str, expansion: Expansion) -> None:
        """What a node expanded to is done."""
        own = self.keys[name]
        opened = expansion.is_open or any(node.id in self.opened for node in expansion.nodes)
        if opened and own is not None:
            self.opened.add(name)
            self.keys[name] = expansion.key(own, self.keys)
        self._finish(name, expansion.collect(self.values), keep=not opened)
        self._release(expansion.sources)

    def _rekey(self, name: str) -> bool:
        """Find the key of a node behind an open expansion, which the plan alone does not decide."""
        planned = self.nodes[name]
        if name in self.opened or not any(wire.node in self.opened for wire in planned.wires):
            return False
        self.opened.add(name)
        self.keys[name] = self.context.key(planned, self.keys)
        return True

    def _fail(self, name: str, error: Exception) -> None:
        shown, class_type = self._shown(name), self.nodes[name].spec.name
        if shown not in self.failures:
            self.failures[shown] = NodeError(shown, class_type, error)
            self.fresh.append(error)
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
            self.begun.pop(current, None)
            self.partial.pop(current, None)
            if (expansion := self.expansions.pop(current, None)) is not None:
                self._release(expansion.sources)
            if self.waiting.pop(current, None) is not None:
                self._release(wire.node for wire in self.nodes[current].wires)
            pending.extend(consumer for consumer in self.consumers.pop(current, ()) if consumer in self.waiting)
            if self._shown(current) != because:
                self._skip(self._shown(current), because)

    def _shown(self, name: str) -> str:
        """The id in the workflow of the node that this one came from."""
        return self.inside.get(name, name)

    def _result(self) -> Result:
        because = {name: why for name, why in self.skipped.items() if name not in self.failures}
        outputs = {name: self.values[name] for name in self.plan.targets if name in self.values}
        outputs = {name: tuple(map(list[Any], slots)) for name, slots in outputs.items()}
        if not isinstance(self.context.cache, NullCache):
            outputs = copied(outputs)
        return Result(
            outputs=by_each_id(outputs, self.plan.aliases),
            files=by_each_id(self.publisher.files, self.plan.aliases),
            texts=by_each_id(self.publisher.texts, self.plan.aliases),
            failures=by_each_id(self.failures, self.plan.aliases),
            executed=tuple(name for name in self.executed if name in self.plan.nodes),
            cached=tuple(name for name in self.plan.nodes if name in self.told),
            skipped=tuple(because),
            _because=by_each_id(because, self.plan.aliases),
        )
