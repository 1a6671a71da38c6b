"""How long values live, what nodes are told of, and that a run is the same whatever is kept."""

from __future__ import annotations

import asyncio
import gc
import traceback
import weakref
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import NOWHERE, REGISTRY, Bench, Nodes, planned, shown, workflow

from graphexec.errors import NodeError
from graphexec.graph import events
from graphexec.graph.cache import MemoryCache
from graphexec.graph.compile import compile as compile_workflow
from graphexec.graph.execute import run, run_async
from graphexec.graph.execution import Execution
from graphexec.graph.result import Result
from graphexec.node.decorator import node

Drawn = dict[str, tuple[str, dict[str, Any]]]


class TestValues:
    def test_a_value_is_let_go_after_its_last_use(self, bench: Bench) -> None:
        nodes: Nodes = {
            "a": ("Make", {"name": "a"}),
            "b": ("Make", {"name": "b", "after": ["a", 0]}),
            "c": ("Make", {"name": "c", "after": ["b", 0]}),
            "w": ("Weigh", {"heavy": ["c", 0], "other": ["c", 0], "at": 0}),
        }
        bench.run(nodes, ["w"])
        assert bench.log[-1] == "Weigh c: c"

    def test_a_value_that_a_lazy_branch_may_need_is_kept_for_it(self, bench: Bench) -> None:
        nodes: Nodes = {
            "dear": ("Int", {"value": 7}),
            "soon": ("Add", {"a": ["dear", 0], "b": 1}),
            "later": ("Add", {"a": ["dear", 0], "b": 2}),
            "choose": ("Choose", {"first": True, "yes": ["later", 0], "no": 0}),
            "s": shown("soon", 0),
            "t": shown("choose", 0),
        }
        assert bench.run(nodes).texts == {"s": ("8",), "t": ("9",)}
        assert bench.log.count("Int 7") == 1

    def test_a_branch_not_taken_holds_nothing_any_more(self, bench: Bench) -> None:
        nodes: Nodes = {
            "a": ("Make", {"name": "a"}),
            "first": ("Weigh", {"heavy": ["a", 0], "at": 1}),
            "never": ("Weigh", {"heavy": ["a", 0], "at": 2}),
            "choose": ("Choose", {"first": False, "yes": ["never", 0], "no": ["first", 0]}),
            "b": ("Make", {"name": "b"}),
            "last": ("Weigh", {"heavy": ["b", 0], "at": 3}),
            "sum": ("Add", {"a": ["choose", 0], "b": ["last", 0]}),
        }
        bench.run(nodes, ["sum"])
        assert bench.log[-2:] == ["Weigh b: b", "Add 1 3"]

    def test_work_that_only_a_failed_node_wanted_is_not_done(self, bench: Bench) -> None:
        nodes: Nodes = {
            "bad": ("Fail", {"value": 1}),
            "dear": ("Make", {"name": "dear"}),
            "weight": ("Weigh", {"heavy": ["dear", 0], "at": 0}),
            "sum": ("Add", {"a": ["bad", 0], "b": ["weight", 0]}),
            "s": shown("sum", 0),
            "t": ("Show", {"source": 1}),
        }
        result = bench.run(nodes)
        assert bench.log == ["Show 1"]
        assert result.skipped == ("sum", "s")

    def test_what_is_at_work_already_is_finished_and_let_go(self, cached_bench: Bench) -> None:
        nodes: Nodes = {
            "slow": ("Later", {"value": 3, "turns": 5}),
            "bad": ("Fail", {"value": 1}),
            "sum": ("Add", {"a": ["slow", 0], "b": ["bad", 0]}),
        }
        result = cached_bench.run(nodes, ["sum"])
        assert result.executed == ("slow",)
        assert not result.outputs


TWICE: Nodes = {
    "a": ("Note", {"text": "x", "value": 5}),
    "b": ("Note", {"text": "x", "value": 5}),
    "c": ("Show", {"source": ["a", 0]}),
    "d": ("Show", {"source": ["b", 0]}),
}


class TestMerged:
    def test_a_result_is_found_by_each_id(self, bench: Bench) -> None:
        result = bench.run(TWICE)
        assert result.value("a") == result.value("b") == 5
        assert result.files["a"] == result.files["b"]
        assert result.texts == {"c": ("5",), "d": ("5",)}
        assert bench.log == ["Note x", "Show 5"]

    def test_a_failure_is_found_by_each_id(self, bench: Bench) -> None:
        nodes: Nodes = {"a": ("Fail", {"value": 1}), "b": ("Fail", {"value": 1})}
        result = bench.run(nodes, ["a", "b"])
        for name in nodes:
            with pytest.raises(NodeError, match="no luck"):
                result.value(name)


class TestOutputs:
    def test_an_output_node_may_feed_others(self, cached_bench: Bench) -> None:
        nodes: Nodes = {
            "n": ("Note", {"text": "x", "value": 5}),
            "a": ("Add", {"a": ["n", 0], "b": 1}),
            "s": shown("a", 0),
        }
        for _ in range(2):
            result = cached_bench.run(nodes)
            assert [path.name for path in result.files["n"]] == ["note_00001_.txt"]
            assert result.texts == {"s": ("6",)}

    @pytest.mark.parametrize("kept", [True, False])
    def test_a_file_that_cannot_be_written_is_the_nodes_failure(self, cached_bench: Bench, kept: bool) -> None:
        nodes: Nodes = {
            "w": ("Write", {"text": "x", "filename_prefix": "folder/x"}),
            "n": ("Note", {"text": "x", "value": 5}),
            "s": ("Show", {"source": 1}),
        }
        if kept:
            cached_bench.run(nodes)
            (cached_bench.output / "folder/x_00001_.txt").unlink()
            (cached_bench.output / "folder").rmdir()
        else:
            cached_bench.output.mkdir()
        (cached_bench.output / "folder").write_text("in the way")
        result = cached_bench.run(nodes)
        assert list(result.failures) == ["w"]
        assert result.texts == {"s": ("1",)}
        assert len(result.files["n"]) == 1


class Forgetful(MemoryCache):
    """Keeps every other result."""

    turn = 0

    def get(self, key: bytes) -> Any:
        self.turn += 1
        return super().get(key) if self.turn % 2 else None


def add(a: list[Any], b: list[Any]) -> tuple[str, dict[str, Any]]:
    return ("Add", {"a": a, "b": b})


KINDS: list[Callable[[list[list[Any]], int], tuple[str, dict[str, Any]]]] = [
    lambda s, i: add(s[0], s[1]),
    lambda s, i: add(s[0], s[0]),
    lambda s, i: ("Choose", {"first": bool(i % 3), "yes": s[0], "no": s[1]}),
    lambda s, i: ("LaterChoose", {"first": bool(i % 2), "yes": s[0], "no": s[1]}),
    lambda s, i: ("Gate", {"value": s[0], "open": bool(i % 4), "message": f"shut {i}"}),
    lambda s, i: ("Later", {"value": s[0], "turns": i}),
    lambda s, i: ("AddTwice", {"a": s[0], "b": s[1]}),
    lambda s, i: ("PickInside", {"first": bool(i % 2), "yes": s[0], "no": s[1]}),
    lambda s, i: ("NoteInside", {"text": f"deep {i}", "value": s[0]}),
    lambda s, i: ("Range", {"n": i % 4}),
    lambda s, i: ("Sum", {"values": s[0]}),
    lambda s, i: ("Note", {"text": str(i), "value": s[0]}),
    lambda s, i: ("Fail", {"value": s[0], "message": f"fault {i}"}) if i % 3 == 0 else add(s[0], s[2]),
]


@st.composite
def graphs(draw: st.DrawFn) -> Drawn:
    """A graph of numbers in which each kind of node may stand anywhere."""
    nodes: Drawn = {"0": ("Int", {"value": 1})}
    for place in range(1, draw(st.integers(2, 14))):
        sources = [[str(draw(st.integers(0, place - 1))), 0] for _ in range(3)]
        nodes[str(place)] = draw(st.sampled_from(KINDS))(sources, place)
    return nodes


def told_well(bench: Bench, execution: Execution, result: Result) -> None:
    """Each node is told of from its start to one end; nothing is left over."""
    counts = {kind: Counter(event.node for event in bench.seen(kind)) for kind in ENDS}
    cached = Counter(name for event in bench.seen(events.Cached) for name in event.nodes)
    for name, planned_node in execution.plan.nodes.items():
        started, finished, failed, skipped = (counts[kind][name] for kind in ENDS)
        assert failed + skipped + cached[name] <= 1
        assert started == 0 or not cached[name]
        assert started <= 1 or planned_node.spec.expands
        assert started == finished or failed or (skipped and started == finished + 1)
        assert (name in result.executed) == (finished > 0 and not failed and not skipped)
    assert set(result.failures) == set(counts[events.Failed])
    assert result.skipped == tuple(counts[events.Skipped])
    assert set(result.cached) == set(cached)
    assert bench.events[-1].as_json().items() >= {"event": "completed", "executed": len(result.executed)}.items()
    left = (execution.waiting, execution.foreseen, execution.begun, execution.partial, execution.expansions)
    assert not any(left)
    assert not any(execution.uses.values())
    assert set(execution.values) <= execution.wanted


ENDS = (events.Started, events.Finished, events.Failed, events.Skipped)


class Heavy:
    """Stands for a tensor on a GPU."""


HELD: dict[str, weakref.ref[Heavy]] = {}


def heavy(name: str) -> Heavy:
    made = Heavy()
    HELD[name] = weakref.ref(made)
    return made


@node("Load2")
def load() -> Heavy:
    """Makes something heavy."""
    return heavy("input")


@node("Fails")
def fails(weight: Heavy) -> int:
    """Fails over something heavy, after a failure over something else."""
    scratch = heavy("scratch")
    try:
        raise KeyError(type(weight).__name__)
    except KeyError as error:
        raise RuntimeError(f"no room beside {type(scratch).__name__}") from error


@node("FailsLater")
async def fails_later(weight: Heavy) -> int:
    """The same, asynchronously."""
    return fails(weight)


@node("Look")
def look() -> str:
    """What is held while others run."""
    return ", ".join(name for name, held in HELD.items() if held() is not None)


@pytest.mark.parametrize("kind", ["Fails", "FailsLater"])
def test_who_keeps_a_failure_keeps_nothing_that_its_node_worked_on(kind: str) -> None:
    pack = ModuleType("pack")
    vars(pack).update(load=load, fails=fails, fails_later=fails_later, look=look)
    nodes = workflow({"a": ("Load2", {}), "f": (kind, {"weight": ["a", 0]}), "look": ("Look", {})})
    plan = compile_workflow(nodes, registry=REGISTRY.with_nodes(pack), folders=NOWHERE, targets=["f", "look"])

    def in_a_loop() -> Result:
        return asyncio.run(run_async(plan))

    for way in (lambda: run(plan), in_a_loop):
        gc.disable()  # nothing may wait for it
        try:
            result = way()
            held = look()
        finally:
            gc.enable()
        assert held == ""
        assert kind == "FailsLater" or result.value("look") == ""
        told = "".join(traceback.format_exception(result.failures["f"]))
        assert "in fails\n    raise RuntimeError" in told


def test_what_a_host_was_handling_stays_whole() -> None:
    plan = planned({"f": ("Fail", {"value": 1})}, targets=["f"])
    kept = heavy("of the host")
    try:
        fails(kept)
    except RuntimeError as error:
        assert not run(plan).ok
        assert error.__traceback__ is not None and error.__traceback__.tb_next is not None
        assert error.__traceback__.tb_next.tb_frame.f_locals["weight"] is kept


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nodes=graphs(), data=st.data())
def test_a_run_is_the_same_whatever_is_kept_and_wanted(
    nodes: Drawn, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = st.lists(st.sampled_from(sorted(nodes)), min_size=1, unique=True)
    folder = tmp_path_factory.mktemp("output")
    keeping, forgetting = Bench(folder, MemoryCache(2**20)), Bench(folder, Forgetful(2**20))
    expected: dict[str, Any] = {}
    for bench in (Bench(folder), keeping, keeping, forgetting, forgetting, forgetting):
        targets = data.draw(names) if expected else list(nodes)
        bench.events.clear()
        execution = Execution.of(planned(nodes, targets=targets), bench.context)
        result = execution.run()
        told_well(bench, execution, result)
        outcome = {name: result.outputs.get(name) for name in targets}
        expected = expected or outcome
        assert outcome == {name: expected[name] for name in targets}
