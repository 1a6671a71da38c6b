"""Asynchronous nodes: what becomes of them when others fail, wait or stop."""

from __future__ import annotations

import asyncio
import signal
import threading
from dataclasses import replace
from types import ModuleType
from typing import Annotated

import pytest
from running import NOWHERE, REGISTRY, Bench, Nodes, planned, shown, workflow

from graphexec.errors import Cancelled
from graphexec.graph import events
from graphexec.graph.compile import compile as compile_workflow
from graphexec.graph.context import CancelToken
from graphexec.graph.execute import run
from graphexec.node.decorator import node
from graphexec.node.fields import Resource


def test_when_one_call_fails_the_others_are_stopped(bench: Bench) -> None:
    nodes: Nodes = {"r": ("Range", {"n": 3}), "f": ("LaterFail", {"value": ["r", 0]}), "s": shown("f", 0)}
    assert "no luck later" in str(bench.run(nodes).failures["f"])
    assert bench.log == ["stopped 1", "stopped 2"]


def test_a_lazy_input_suspends(bench: Bench) -> None:
    nodes: Nodes = {
        "i": ("Later", {"value": 5}),
        "choose": ("LaterChoose", {"first": True, "yes": ["i", 0], "no": ["gone", 0]}),
        "gone": ("Fail", {"value": 1}),
        "s": shown("choose", 0),
    }
    assert bench.run(nodes).texts == {"s": ("5",)}
    assert "LaterChoose" in bench.log


def test_cancelling_stops_what_is_at_work(bench: Bench) -> None:
    token = CancelToken()

    def on_event(event: events.Event) -> None:
        bench.events.append(event)
        if isinstance(event, events.Started) and event.class_type == "LaterFail":
            threading.Timer(0.01, token.cancel).start()

    plan = planned({"f": ("LaterFail", {"value": 1}), "s": shown("f", 0)})
    with pytest.raises(Cancelled):
        run(plan, replace(bench.context, cancel=token, on_event=on_event))
    assert bench.log == ["stopped 1"]
    assert [type(event).__name__ for event in bench.events] == ["Planned", "Started", "Interrupted"]


def test_a_node_that_stops_the_run_stops_what_is_at_work(bench: Bench) -> None:
    nodes: Nodes = {"f": ("LaterFail", {"value": 1}), "stop": ("Stop", {"value": 1}), "s": shown("f", 0)}
    with pytest.raises(Cancelled):
        bench.run(nodes, ["s", "stop"])
    assert bench.log == ["stopped 1"]


def test_a_failed_sink_stops_what_is_at_work(bench: Bench) -> None:
    def on_event(event: events.Event) -> None:
        if isinstance(event, events.Finished):
            raise OSError("nobody listens")

    nodes: Nodes = {"f": ("LaterFail", {"value": 1}), "i": ("Int", {"value": 1}), "s": shown("f", 0)}
    with pytest.raises(OSError, match="nobody listens"):
        run(planned(nodes, targets=["s", "i"]), replace(bench.context, on_event=on_event))


def test_the_time_of_a_node_is_how_long_it_took(bench: Bench) -> None:
    bench.run({"i": ("Later", {"value": 1, "turns": 200}), "s": shown("i", 0)})
    took = {event.node: event.seconds for event in bench.seen(events.Finished)}
    assert took["i"] > took["s"]


def test_threads_that_nodes_started_are_done_when_the_run_is() -> None:
    bench = Bench()
    before = threading.active_count()
    assert bench.run({"t": ("OnThread", {"value": 3})}, ["t"]).value("t") == 3
    assert threading.active_count() == before


@node("Leaves")
async def leaves(value: int, log: Annotated[list[str], Resource("log")]) -> int:
    """Returns while a task of its own still waits."""

    async def wait() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            log.append("put away")

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    return value + task.done()


def test_tasks_that_nodes_left_are_stopped_in_order() -> None:
    bench, pack = Bench(), ModuleType("pack")
    vars(pack)["leaves"] = leaves
    nodes = workflow({"l": ("Leaves", {"value": 3})})
    plan = compile_workflow(nodes, registry=REGISTRY.with_nodes(pack), folders=NOWHERE, targets=["l"])
    assert run(plan, bench.context).value("l") == 3
    assert bench.log == ["put away"]


def test_an_interrupt_inside_an_event_loop_stops_the_run(bench: Bench) -> None:
    def on_event(event: events.Event) -> None:
        if isinstance(event, events.Started):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    async def inside() -> None:
        run(planned({"l": ("Long", {"steps": 10**9})}, targets=["l"]), replace(bench.context, on_event=on_event))

    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(inside())
    loop.close()
