"""Runs at the same time that want the same result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import ModuleType

import pytest
from running import NOWHERE, REGISTRY, shown, workflow

from graphexec.errors import Cancelled
from graphexec.graph.cache import MemoryCache
from graphexec.graph.call import Outputs
from graphexec.graph.compile import compile as compile_workflow
from graphexec.graph.context import CancelToken, Context
from graphexec.graph.execute import run
from graphexec.graph.flights import Flights
from graphexec.node.decorator import node

LONG = 30.0
"""Seconds after which a test that hangs fails."""


class Telling(MemoryCache):
    """Says when something was looked for a second time and was not there."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self.missed: set[bytes] = set()
        self.again = threading.Event()

    def get(self, key: bytes) -> Outputs | None:
        found = super().get(key)
        if found is None:
            if key in self.missed:
                self.again.set()
            self.missed.add(key)
        return found


class Patient(CancelToken):
    """Says when its run waits."""

    def __init__(self, parent: CancelToken) -> None:
        super().__init__(parent)
        self.checks = 0
        self.waits = threading.Event()

    def check(self) -> None:
        self.checks += 1
        if self.checks > 1:  # once before its first node, then while that is waited for
            self.waits.set()
        super().check()


@dataclass
class Kitchen:
    """A node that two runs want, the first of which is not done before the other wants it."""

    fails: bool = False
    cooked: int = 0
    begun: threading.Event = field(default_factory=threading.Event)
    go_on: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        @node("Cook")
        def cook() -> str:
            self.cooked += 1
            self.begun.set()
            self.go_on()
            if self.fails:
                raise RuntimeError("burnt")
            return "soup"

        pack = ModuleType("pack")
        vars(pack).update(cook=cook)
        nodes = workflow({"c": ("Cook", {}), "s": shown("c", 0)})
        self.plan = compile_workflow(nodes, registry=REGISTRY.with_nodes(pack), folders=NOWHERE)


@pytest.mark.parametrize("fails", [False, True])
def test_what_another_run_computes_is_waited_for(fails: bool) -> None:
    cache, kitchen = Telling(2**20), Kitchen(fails)
    kitchen.go_on = lambda: cache.again.wait(LONG)
    context = Context(cache=cache)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run, kitchen.plan, context)
        assert kitchen.begun.wait(LONG)
        second = pool.submit(run, kitchen.plan, context)
        results = first.result(LONG), second.result(LONG)
    assert [result.ok for result in results] == [not fails] * 2
    assert kitchen.cooked == (2 if fails else 1)
    if not fails:
        assert [result.texts for result in results] == [{"s": ("soup",)}] * 2
        assert results[0].executed[0] == "c" and "c" in results[1].cached


def test_who_waits_can_be_stopped_and_the_other_goes_on() -> None:
    kitchen, context = Kitchen(), Context(cache=MemoryCache(2**20))
    patient, done = Patient(CancelToken()), threading.Event()
    kitchen.go_on = lambda: done.wait(LONG)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run, kitchen.plan, context)
        assert kitchen.begun.wait(LONG)
        second = pool.submit(run, kitchen.plan, replace(context, cancel=patient))
        assert patient.waits.wait(LONG)
        patient.cancel()
        with pytest.raises(Cancelled):
            second.result(LONG)
        done.set()
        assert first.result(LONG).ok
    assert kitchen.cooked == 1


def test_when_the_first_is_stopped_the_other_computes_it() -> None:
    cache, kitchen, token = Telling(2**20), Kitchen(), CancelToken()

    def stopped() -> None:
        if kitchen.cooked == 1:
            cache.again.wait(LONG)
            raise Cancelled

    kitchen.go_on = stopped
    with ThreadPoolExecutor(2) as pool:
        context = Context(cache=cache)
        first = pool.submit(run, kitchen.plan, replace(context, cancel=token))
        assert kitchen.begun.wait(LONG)
        second = pool.submit(run, kitchen.plan, context)
        with pytest.raises(Cancelled):
            first.result(LONG)
        assert second.result(LONG).texts == {"s": ("soup",)}
    assert kitchen.cooked == 2


def test_a_thread_does_not_wait_for_itself() -> None:
    flights = Flights()
    with flights.joined(b"key", lambda: None), flights.joined(b"key", lambda: None):
        pass
    with flights.joined(b"key", lambda: None):
        pass
