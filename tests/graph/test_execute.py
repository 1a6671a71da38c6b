"""Running: order, caching, lists, lazy inputs, blockers, expansion, async nodes, cancellation."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import REGISTRY, Bench, Nodes, planned, shown, workflow

from graphexec.errors import Cancelled, ModelFileError, ResultError
from graphexec.graph import events
from graphexec.graph.cache import MemoryCache
from graphexec.graph.compile import compile as compile_workflow
from graphexec.graph.context import CancelToken, Context
from graphexec.graph.execute import run, run_async, stream
from graphexec.graph.folders import Folders
from graphexec.node.decorator import node

SUM: Nodes = {
    "a": ("Int", {"value": 2}),
    "b": ("Int", {"value": 3}),
    "sum": ("Add", {"a": ["a", 0], "b": ["b", 0]}),
    "show": ("Show", {"source": ["sum", 0]}),
}


class TestOrder:
    def test_a_workflow_runs_through(self, bench: Bench) -> None:
        result = bench.run(SUM)
        assert result.texts == {"show": ("5",)}
        assert result.executed == ("a", "b", "sum", "show")
        assert result.ok

    def test_only_what_outputs_need_runs(self, bench: Bench) -> None:
        bench.run({**SUM, "spare": ("Int", {"value": 9})})
        assert "Int 9" not in bench.log

    def test_a_target_alone_runs(self, bench: Bench) -> None:
        result = bench.run(SUM, targets=["sum"])
        assert result.value("sum") == 5
        assert not result.texts

    def test_identical_nodes_run_once(self, bench: Bench) -> None:
        result = bench.run({**SUM, "b": ("Int", {"value": 2})})
        assert bench.log.count("Int 2") == 1
        assert result.texts == {"show": ("4",)}

    def test_events_tell_the_story(self, bench: Bench) -> None:
        bench.run(SUM)
        kinds = [type(event).__name__ for event in bench.events]
        assert kinds == ["Planned", *["Started", "Finished"] * 3, "Started", "Shown", "Finished", "Completed"]
        assert bench.seen(events.Completed)[0].executed == 4

    def test_values_are_let_go_after_their_last_use(self, bench: Bench) -> None:
        result = bench.run(SUM)
        assert set(result.outputs) == {"show"}

    @settings(max_examples=60)
    @given(st.data())
    def test_any_graph_runs_each_node_once_and_cached_equals_uncached(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, 12))
        nodes: dict[str, tuple[str, dict[str, Any]]] = {"0": ("Int", {"value": 1})}
        for place in range(1, count):
            a, b = data.draw(st.integers(0, place - 1)), data.draw(st.integers(0, place - 1))
            nodes[str(place)] = ("Add", {"a": [str(a), 0], "b": [str(b), 0]})
        targets = [str(count - 1), str(data.draw(st.integers(0, count - 1)))]
        plain, keeping = Bench(), Bench(cache=MemoryCache(2**20))
        expected = [0] * count
        expected[0] = 1
        for place in range(1, count):
            inputs = nodes[str(place)][1]
            expected[place] = expected[int(inputs["a"][0])] + expected[int(inputs["b"][0])]
        for bench in (plain, keeping, keeping):
            result = bench.run(nodes, targets)
            names = [planned(nodes, targets=targets).resolve(name) for name in targets]
            assert [result.value(name) for name in names] == [expected[int(name)] for name in targets]
            assert len(set(result.executed)) == len(result.executed)


class TestCache:
    def test_a_second_run_computes_nothing(self, cached_bench: Bench) -> None:
        cached_bench.run(SUM)
        result = cached_bench.run(SUM)
        assert cached_bench.log == []
        assert result.executed == ()
        assert result.texts == {"show": ("5",)}
        assert set(result.cached) == set(SUM)

    def test_only_what_changed_runs_again(self, cached_bench: Bench) -> None:
        cached_bench.run(SUM)
        result = cached_bench.run({**SUM, "b": ("Int", {"value": 4})})
        assert cached_bench.log == ["Int 4", "Add 2 4", "Show 6"]
        assert "a" in result.cached

    def test_node_ids_do_not_matter(self, cached_bench: Bench) -> None:
        cached_bench.run(SUM)
        renamed = {f"x{name}": kind for name, kind in workflow(SUM).items()}
        for each in renamed.values():
            each["inputs"] = {k: [f"x{v[0]}", v[1]] if isinstance(v, list) else v for k, v in each["inputs"].items()}
        cached_bench.run({name: (each["class_type"], each["inputs"]) for name, each in renamed.items()})
        assert cached_bench.log == []

    def test_a_node_that_asks_for_its_id_is_not_shared(self, cached_bench: Bench) -> None:
        nodes: Nodes = {"x": ("WhoAmI", {}), "y": ("WhoAmI", {}), "sx": shown("x", 0), "sy": shown("y", 0)}
        assert cached_bench.run(nodes).texts == {"sx": ("x",), "sy": ("y",)}
        cached_bench.run(nodes)
        assert cached_bench.log == []

    def test_equal_numbers_of_other_types_are_other_values(self, cached_bench: Bench) -> None:
        for value, text in ((1, "1"), (1.0, "1.0"), (True, "True")):
            assert cached_bench.run({"s": ("Show", {"source": value})}).texts == {"s": (text,)}

    def test_a_fingerprint_decides(self, cached_bench: Bench) -> None:
        def watch(path: str) -> Nodes:
            return {"w": ("Watch", {"path": path}), "s": shown("w", 0)}

        cached_bench.run(watch("here"))
        cached_bench.run(watch("here"))
        assert cached_bench.log == []
        cached_bench.run(watch("never"))
        cached_bench.run(watch("never"))
        assert cached_bench.log == ["Watch never", "Show never"]

    def test_a_fingerprint_is_taken_anew_for_each_run_of_a_plan(self, cached_bench: Bench) -> None:
        weather = ["fair"]

        @node("Weather", fingerprint=lambda: weather[0])
        def look_out() -> str:
            return weather[0]

        host = ModuleType("host")
        vars(host)["look_out"] = look_out
        plan = compile_workflow(workflow({"w": ("Weather", {})}), registry=REGISTRY.with_nodes(host), targets=["w"])
        seen: list[str] = []
        for now in ("fair", "foul", "fair"):
            weather[0] = now
            result = run(plan, cached_bench.context)
            seen += [result.value("w"), *result.cached]
        assert seen == ["fair", "foul", "fair", "w"]

    def test_settings_of_resources_enter_the_key(self, cached_bench: Bench) -> None:
        cached_bench.run(SUM)
        plan = planned(SUM)
        assert run(plan, replace(cached_bench.context, settings={"device": "cuda"})).executed == tuple(plan.nodes)

    def test_other_settings_have_resources_of_their_own(self) -> None:
        resources = Context().resources
        made = [resources.get("log", REGISTRY.resources, {"device": name}) for name in ("cpu", "cuda", "cpu")]
        assert made[0] is made[2]
        assert made[0] is not made[1]


class TestLists:
    def test_a_node_runs_for_each_item(self, bench: Bench) -> None:
        nodes: Nodes = {"r": ("Range", {"n": 3}), "add": ("Add", {"a": ["r", 0], "b": 10}), "s": shown("add", 0)}
        assert bench.run(nodes).texts == {"s": ("10", "11", "12")}

    def test_shorter_lists_repeat_their_last_item(self, bench: Bench) -> None:
        nodes: Nodes = {
            "long": ("Range", {"n": 4}),
            "short": ("Range", {"n": 2}),
            "add": ("Add", {"a": ["long", 0], "b": ["short", 0]}),
            "s": shown("add", 0),
        }
        assert bench.run(nodes).texts == {"s": ("0", "2", "3", "4")}

    def test_a_list_input_takes_the_whole_list(self, bench: Bench) -> None:
        nodes: Nodes = {"r": ("Range", {"n": 4}), "sum": ("Sum", {"values": ["r", 0]}), "s": shown("sum", 0)}
        assert bench.run(nodes).texts == {"s": ("6",)}
        assert bench.log[0] == "Sum [0, 1, 2, 3]"

    def test_an_empty_list_runs_nothing(self, bench: Bench) -> None:
        nodes: Nodes = {"r": ("Range", {"n": 0}), "add": ("Add", {"a": ["r", 0], "b": 1}), "s": shown("add", 0)}
        assert bench.run(nodes).ok
        assert bench.log == []

    def test_the_single_value_of_a_list_is_refused(self, bench: Bench) -> None:
        result = bench.run({"r": ("Range", {"n": 2})}, targets=["r"])
        assert result.outputs["r"] == ([0, 1],)
        with pytest.raises(ResultError, match="list of 2"):
            result.value("r")

    def test_named_outputs_have_slots(self, bench: Bench) -> None:
        result = bench.run({"h": ("Halve", {"value": 7}), "s": shown("h", 1)}, targets=["h", "s"])
        assert (result.value("h", 0), result.value("h", 1)) == (3, 4)
        assert result.texts == {"s": ("4",)}


class TestLazy:
    NODES: ClassVar[Nodes] = {
        "yes": ("Int", {"value": 1}),
        "no": ("Int", {"value": 2}),
        "choose": ("Choose", {"first": True, "yes": ["yes", 0], "no": ["no", 0]}),
        "s": shown("choose", 0),
    }

    def test_the_branch_not_taken_does_not_run(self, bench: Bench) -> None:
        assert bench.run(self.NODES).texts == {"s": ("1",)}
        assert bench.log == ["Int 1", "Choose", "Show 1"]

    def test_a_constant_is_there_at_once(self, bench: Bench) -> None:
        nodes: Nodes = {"choose": ("Choose", {"first": False, "yes": 1, "no": 8}), "s": shown("choose", 0)}
        assert bench.run(nodes).texts == {"s": ("8",)}

    def test_a_deep_chain_of_lazy_nodes_does_not_recurse(self, bench: Bench) -> None:
        nodes: dict[str, Any] = {"0": ("Int", {"value": 5})}
        for place in range(1, 3000):
            nodes[str(place)] = ("Choose", {"first": True, "yes": [str(place - 1), 0], "no": 0})
        assert bench.run(nodes, targets=["2999"]).value("2999") == 5

    def test_a_failure_in_the_branch_spoils_the_node(self, bench: Bench) -> None:
        result = bench.run({**self.NODES, "yes": ("Fail", {"value": 1})})
        assert set(result.failures) == {"yes"}
        assert result.skipped == ("choose", "s")

    def test_a_failure_in_the_other_branch_does_not(self, bench: Bench) -> None:
        assert bench.run({**self.NODES, "no": ("Fail", {"value": 1})}).ok

    def test_a_blocked_branch_blocks_the_node(self, bench: Bench) -> None:
        nodes = {**self.NODES, "yes": ("Gate", {"value": 1, "open": False})}
        result = bench.run(nodes)
        assert result.ok
        assert not result.texts


class TestBlockers:
    def gate(self, *, message: str = "") -> Nodes:
        return {
            "i": ("Int", {"value": 1}),
            "gate": ("Gate", {"value": ["i", 0], "open": False, "message": message}),
            "add": ("Add", {"a": ["gate", 0], "b": 1}),
            "s": shown("add", 0),
            "other": shown("i", 0),
        }

    def test_what_is_blocked_does_not_run(self, bench: Bench) -> None:
        result = bench.run(self.gate())
        assert result.texts == {"other": ("1",)}
        assert result.ok
        assert not bench.seen(events.Blocked)

    def test_what_is_blocked_is_skipped_because_of_what_blocked_it(self, bench: Bench) -> None:
        result = bench.run({**self.gate(), "later": ("Later", {"value": ["add", 0]})}, ["s", "other", "later"])
        assert set(result.executed) == {"i", "gate", "other"}
        assert set(result.skipped) == {"add", "s", "later"}
        assert all(event.because == "gate" for event in bench.seen(events.Skipped))
        assert {event.node for event in bench.seen(events.Started)} == {"i", "gate", "other"}
        assert bench.seen(events.Completed)[0].executed == 3

    def test_a_node_of_which_one_call_is_blocked_has_run(self, bench: Bench) -> None:
        nodes: Nodes = {
            "r": ("Range", {"n": 2}),
            "which": ("Truths", {"text": "tf"}),
            "gate": ("Gate", {"value": ["r", 0], "open": ["which", 0]}),
            "s": shown("gate", 0),
        }
        assert "s" in bench.run(nodes).executed

    def test_a_message_is_told_once(self, bench: Bench) -> None:
        bench.run(self.gate(message="closed today"))
        assert bench.seen(events.Blocked) == [events.Blocked("add", "closed today")]

    def test_blocks_are_per_item(self, bench: Bench) -> None:
        nodes: Nodes = {
            "r": ("Range", {"n": 3}),
            "even": ("Range", {"n": 2}),
            "open": ("Same", {"value": ["even", 0]}),
            "gate": ("Gate", {"value": ["r", 0], "open": True}),
            "s": shown("gate", 0),
        }
        assert bench.run(nodes).texts == {"s": ("0", "1", "2")}

    def test_a_blocked_result_is_not_kept(self, cached_bench: Bench) -> None:
        cached_bench.run(self.gate(message="closed"))
        cached_bench.run(self.gate(message="closed"))
        assert len(cached_bench.seen(events.Blocked)) == 1


class TestExpansion:
    def test_a_node_stands_for_its_graph(self, bench: Bench) -> None:
        nodes: Nodes = {
            "i": ("Int", {"value": 4}),
            "twice": ("AddTwice", {"a": ["i", 0], "b": 3}),
            "s": shown("twice", 0),
        }
        assert bench.run(nodes).texts == {"s": ("10",)}
        assert bench.log == ["Int 4", "Add 4 3", "Add 7 3", "Show 10"]

    def test_it_may_expand_to_itself_a_thousand_times(self, bench: Bench) -> None:
        nodes: Nodes = {"loop": ("Repeat", {"times": 1000, "value": 1}), "s": shown("loop", 0)}
        assert bench.run(nodes).texts == {"s": ("1001",)}

    def test_the_expanding_node_is_kept(self, cached_bench: Bench) -> None:
        nodes: Nodes = {"loop": ("Repeat", {"times": 5, "value": 1}), "s": shown("loop", 0)}
        cached_bench.run(nodes)
        assert cached_bench.run(nodes).executed == ()

    def test_each_item_of_a_list_expands(self, bench: Bench) -> None:
        nodes: Nodes = {
            "r": ("Range", {"n": 3}),
            "loop": ("Repeat", {"times": ["r", 0], "value": 10}),
            "s": shown("loop", 0),
        }
        assert bench.run(nodes).texts == {"s": ("10", "11", "12")}

    @pytest.mark.parametrize(
        ("what", "message"),
        [
            ("class", "`Add`"),
            ("input", "no input 'c'"),
            ("missing", "Add.a"),
            ("range", "bigger than max"),
            ("cycle", "cycle"),
            ("results", "0 results"),
        ],
    )
    def test_a_graph_that_cannot_run_is_the_nodes_failure(self, bench: Bench, what: str, message: str) -> None:
        result = bench.run({"b": ("Broken", {"what": what}), "s": shown("b", 0)})
        assert message in str(result.failures["b"])


class TestAsync:
    def test_async_nodes_run_at_once(self, bench: Bench) -> None:
        nodes: Nodes = {
            "a": ("Later", {"value": 1, "turns": 5}),
            "b": ("Later", {"value": 2, "turns": 1}),
            "sum": ("Add", {"a": ["a", 0], "b": ["b", 0]}),
            "s": shown("sum", 0),
        }
        assert bench.run(nodes).texts == {"s": ("3",)}
        assert bench.log[:2] == ["start 1", "start 2"]

    def test_each_item_of_a_list_is_awaited_in_order(self, bench: Bench) -> None:
        nodes: Nodes = {
            "r": ("Range", {"n": 3}),
            "later": ("Later", {"value": ["r", 0], "turns": 1}),
            "s": shown("later", 0),
        }
        assert bench.run(nodes).texts == {"s": ("0", "1", "2")}

    def test_a_run_inside_an_event_loop_works(self, bench: Bench) -> None:
        async def inside() -> int:
            return bench.run({"a": ("Later", {"value": 7})}, targets=["a"]).value("a")

        assert asyncio.run(inside()) == 7

    def test_the_async_twin(self, bench: Bench) -> None:
        assert asyncio.run(run_async(planned(SUM), bench.context)).texts == {"show": ("5",)}

    def test_the_async_twin_leaves_the_threads_of_the_loop_to_others(self) -> None:
        name: ContextVar[str] = ContextVar("name")
        told: list[str] = []

        async def beside_work() -> int:
            name.set("host")
            done, loop = threading.Event(), asyncio.get_running_loop()
            loop.set_default_executor(ThreadPoolExecutor(1))
            other = loop.run_in_executor(None, done.wait)
            plan = planned({"i": ("Int", {"value": 1})}, targets=["i"])
            try:
                made = run_async(plan, Context(on_event=lambda _: told.append(name.get())))
                return (await asyncio.wait_for(made, 60)).value("i")
            finally:
                done.set()
                await other

        assert asyncio.run(beside_work()) == 1
        assert set(told) == {"host"}

    def test_context_variables_of_the_host_reach_a_run_inside_an_event_loop(self) -> None:
        name: ContextVar[str] = ContextVar("name")
        told: list[str] = []

        async def inside() -> None:
            name.set("host")
            run(planned(SUM), Context(on_event=lambda _: told.append(name.get("lost"))))

        asyncio.run(inside())
        assert set(told) == {"host"}

    def test_cancelling_the_task_stops_the_run(self, bench: Bench) -> None:
        entered = threading.Event()

        def on_event(event: events.Event) -> None:
            if isinstance(event, events.Progressed):
                entered.set()

        async def cancel_soon() -> None:
            plan = planned({"long": ("Long", {"steps": 10**9})}, targets=["long"])
            task = asyncio.create_task(run_async(plan, Context(on_event=on_event)))
            await asyncio.to_thread(entered.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel_soon())


def test_a_plan_whose_files_were_not_looked_for_is_refused() -> None:
    plan = planned({"1": ("Read", {"file": "a.txt"}), "2": ("Show", {"source": ["1", 0]})}, check_files=False)
    with pytest.raises(ModelFileError, match="compile it without check_files=False"):
        run(plan)


class TestCancellation:
    def test_it_stops_within_one_step_and_keeps_what_is_done(self, cached_bench: Bench) -> None:
        token = CancelToken()
        seen: list[events.Event] = []

        def on_event(event: events.Event) -> None:
            seen.append(event)
            if isinstance(event, events.Progressed) and event.done == 3:
                token.cancel()

        nodes: Nodes = {"a": ("Int", {"value": 3}), "l": ("Long", {"steps": ["a", 0]}), "x": ("Long", {"steps": 9})}
        context = replace(cached_bench.context, on_event=on_event, cancel=token)
        with pytest.raises(Cancelled):
            run(planned({**nodes, "s": shown("x", 0), "t": shown("l", 0)}), context)
        steps = [event.done for event in seen if isinstance(event, events.Progressed)]
        assert steps[-1] == 3
        assert isinstance(seen[-1], events.Interrupted)

    def test_a_node_may_stop_the_run(self, bench: Bench) -> None:
        with pytest.raises(Cancelled):
            bench.run({"s": ("Stop", {"value": 1}), "t": shown("s", 0)})

    def test_it_stops_while_model_files_are_hashed(self, tmp_path: Path) -> None:
        (tmp_path / "loras").mkdir()
        (tmp_path / "loras" / "a.safetensors").write_bytes(b"weights")
        nodes = workflow({"r": ("Read", {"file": "a.safetensors"}), "s": shown("r", 0)})
        plan = compile_workflow(nodes, registry=REGISTRY, folders=Folders.from_roots(tmp_path))
        seen: list[events.Event] = []

        def on_event(event: events.Event) -> None:
            seen.append(event)
            context.cancel.cancel()

        context = Context(cache=MemoryCache(1000), on_event=on_event)
        with pytest.raises(Cancelled):
            run(plan, context)
        assert [type(event) for event in seen] == [events.Planned, events.Interrupted]

    def test_it_stops_while_a_file_is_written(self, tmp_path: Path) -> None:
        token = CancelToken()
        seen: list[events.Event] = []

        def on_event(event: events.Event) -> None:
            seen.append(event)
            if isinstance(event, events.Progressed):
                token.cancel()

        context = Context(output=tmp_path, on_event=on_event, cancel=token)
        with pytest.raises(Cancelled):
            run(planned({"w": ("WriteInPieces", {"text": "abc"})}), context)
        assert isinstance(seen[-1], events.Interrupted)
        assert list(tmp_path.iterdir()) == []

    def test_a_child_token_follows_its_parent_only(self) -> None:
        parent = CancelToken()
        child = CancelToken(parent)
        child.cancel()
        assert not parent.cancelled
        other = CancelToken(parent)
        parent.cancel()
        assert other.cancelled


class TestStream:
    def test_events_come_by_iterator(self, bench: Bench) -> None:
        running = stream(planned(SUM), bench.context)
        assert isinstance(next(running), events.Planned)
        assert isinstance(list(running)[-1], events.Completed)

    def test_the_result_comes_after_the_last_event(self, bench: Bench) -> None:
        running = stream(planned(SUM), bench.context)
        with pytest.raises(StopIteration) as last:
            while True:
                next(running)
        assert last.value.value.texts == {"show": ("5",)}

    def test_context_variables_of_the_host_are_there(self) -> None:
        name: ContextVar[str] = ContextVar("name")
        told: list[str] = []

        def host() -> None:
            name.set("host")
            list(stream(planned(SUM), Context(on_event=lambda _: told.append(name.get("lost")))))

        copy_context().run(host)
        assert set(told) == {"host"}

    def test_leaving_the_iterator_stops_the_run(self) -> None:
        run_events = stream(planned({"long": ("Long", {"steps": 10**9})}, targets=["long"]), Context())
        for event in run_events:
            if isinstance(event, events.Progressed):
                break
        run_events.close()


class TestIsolation:
    def test_two_contexts_share_nothing(self) -> None:
        first, second = Bench(cache=MemoryCache(2**20)), Bench(cache=MemoryCache(2**20))
        first.run(SUM)
        second.run(SUM)
        assert first.log == second.log

    def test_one_plan_runs_on_many_threads(self) -> None:
        plan = compile_workflow(workflow(SUM), registry=REGISTRY, folders=Folders.from_roots())
        results: list[Any] = []
        context = Context(cache=MemoryCache(2**20))
        threads = [threading.Thread(target=lambda: results.append(run(plan, context).texts)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [{"show": ("5",)}] * 8
