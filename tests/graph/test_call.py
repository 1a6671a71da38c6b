"""One node's turn: which calls are made, with what, and what is taken of what they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
from pydantic import Field
from running import NOWHERE, REGISTRY, Bench, Nodes, shown

from graphexec.errors import Cancelled, InputError
from graphexec.graph import events
from graphexec.graph.compile import compile  # noqa: A004
from graphexec.graph.context import CancelToken, Context
from graphexec.graph.execute import run
from graphexec.graph.result import Result
from graphexec.graph.supply import Supply
from graphexec.node.decorator import node
from graphexec.node.fields import Artifact, Artifacts, Lazy, Name, Resource


@node("Blend")
def blend(
    out_0: Annotated[int, Name("out.0.")],
    later: Annotated[Lazy[int], Name("out.1.")],
    whole: Annotated[list[int], Name("all of it")],
) -> tuple[int, int, int]:
    """Has inputs that no parameter can be called."""
    return out_0, later(), sum(whole)


Number = Annotated[int, Field(ge=2, le=4)]


@node("Few")
def few_of(value: Number) -> int:
    """Takes few, says the editor."""
    return value


@node("FewLazy")
def few_lazy(value: Lazy[Number]) -> int:
    """Calls for its number."""
    return value()


@node("FewWhole")
def few_whole(value: list[Number]) -> int:
    """Takes a list of numbers as it is."""
    return sum(value)


@node("FewLater")
async def few_later(value: Number) -> int:
    """Is asynchronous."""
    return value


@node("TwoEach")
def write_two(value: int) -> Artifacts:
    """Makes two files a call."""
    return Artifacts(tuple(Artifact(b"%d" % value, "a%batch_num%", ".txt") for _ in range(2)))


@node("LazyWhole")
def lazy_whole(value: Lazy[list[int]]) -> int:
    """Calls for a list, and uses it up."""
    return len([value().pop(), value().pop()])


class Desk:
    """One run at a time sits at it."""

    def __init__(self, check: Callable[[], None]) -> None:
        self.check = check

    def heeding(self, check: Callable[[], None], /) -> Desk:
        return Desk(check)


def make_desk(settings: Mapping[str, str]) -> Desk:
    return Desk(lambda: None)


@node("AtDesk")
def at_desk(desk: Annotated[Desk, Resource("desk")]) -> int:
    """Waits for its turn."""
    desk.check()
    return 1


ONE_DESK = {"desk": {"class_type": "AtDesk", "inputs": dict[str, Any]()}}
PACK = ModuleType("pack")
vars(PACK).update(blend=blend, few=few_of, lazy=few_lazy, whole=few_whole, later=few_later, write_two=write_two)
vars(PACK).update(lazy_whole=lazy_whole, at_desk=at_desk, RESOURCES={"desk": make_desk})
OWN = REGISTRY.with_nodes(PACK)


def few(kind: str, number: int, folder: Path) -> Result:
    """Run a node of a kind on a number that comes over a link."""
    document = {
        "int": {"class_type": "Int", "inputs": {"value": number}},
        "few": {"class_type": kind, "inputs": {"value": ["int", 0]}},
    }
    plan = compile(document, registry=OWN, folders=NOWHERE, targets=["few"])
    return run(plan, Context(output=str(folder)))


def test_a_value_reaches_the_parameter_behind_its_name(tmp_path: Path) -> None:
    inputs = {"out.0.": 3, "out.1.": ["one", 0], "all of it": ["one", 0]}
    document = {
        "one": {"class_type": "Int", "inputs": {"value": 4}},
        "blend": {"class_type": "Blend", "inputs": inputs},
    }
    plan = compile(document, registry=OWN, folders=NOWHERE, targets=["blend"])
    assert run(plan, Context(output=str(tmp_path))).outputs["blend"] == ([3], [4], [4])


class TestNumbersOverLinks:
    """None is 0 or less where the input's range begins above; otherwise the range binds only numbers in the file."""

    def test_none_at_all_fails_the_node_before_it_is_called(self, tmp_path: Path) -> None:
        failure = few("Few", 0, tmp_path).failures["few"]
        assert isinstance(failure.__cause__, InputError)
        assert str(failure) == (
            "node few (Few): value: Value 0 smaller than min of 2; a link brought it, and INT from 2 to 4 is expected"
        )

    @pytest.mark.parametrize("kind", ["Few", "FewLazy", "FewWhole", "FewLater"])
    def test_however_the_node_takes_it(self, tmp_path: Path, kind: str) -> None:
        failures = few(kind, -8, tmp_path).failures
        assert isinstance(failures["few"].__cause__, InputError)

    @pytest.mark.parametrize("number", [1, 3, 9])
    def test_others_are_taken_as_comfyui_takes_them(self, tmp_path: Path, number: int) -> None:
        assert few("Few", number, tmp_path).value("few") == number

    def test_each_item_of_a_list_is_looked_at(self, bench: Bench) -> None:
        document = {
            "r": {"class_type": "Range", "inputs": {"n": 3}},
            "few": {"class_type": "Few", "inputs": {"value": ["r", 0]}},
        }
        plan = compile(document, registry=OWN, folders=NOWHERE, targets=["few"])
        assert "Value 0" in str(run(plan, bench.context).failures["few"])


class TestLists:
    def test_the_batch_number_begins_anew_with_each_call(self, tmp_path: Path) -> None:
        document = {
            "range": {"class_type": "Range", "inputs": {"n": 2}},
            "two": {"class_type": "TwoEach", "inputs": {"value": ["range", 0]}},
        }
        plan = compile(document, registry=OWN, folders=NOWHERE)
        written = run(plan, Context(output=tmp_path)).files["two"]
        assert [path.name for path in written] == [
            *("a0_00001_.txt", "a1_00002_.txt"),
            *("a0_00003_.txt", "a1_00004_.txt"),
        ]

    @pytest.mark.parametrize("value", [4, ["int", 0]])
    def test_a_lazy_whole_list_is_one_wherever_its_value_comes_from(self, value: Any, bench: Bench) -> None:
        document = {
            "int": {"class_type": "Int", "inputs": {"value": 4}},
            "whole": {"class_type": "LazyWhole", "inputs": {"value": value}},
        }
        plan = compile(document, registry=OWN, folders=NOWHERE, targets=["whole"])
        assert run(plan, bench.context).value("whole") == 2

    def test_lists_beside_a_whole_list(self, bench: Bench) -> None:
        nodes: Nodes = {
            "r": ("Range", {"n": 3}),
            "sum": ("Sum", {"values": ["r", 0]}),
            "add": ("Add", {"a": ["r", 0], "b": ["sum", 0]}),
            "s": shown("add", 0),
        }
        assert bench.run(nodes).texts == {"s": ("3", "4", "5")}

    def test_an_empty_list_is_a_whole_list_too(self, bench: Bench) -> None:
        nodes: Nodes = {
            "r": ("Range", {"n": 0}),
            "add": ("Add", {"a": ["r", 0], "b": 1}),
            "sum": ("Sum", {"values": ["add", 0]}),
            "s": shown("sum", 0),
        }
        assert bench.run(nodes).texts == {"s": ("0",)}
        assert bench.log == ["Sum []", "Show 0"]

    def test_a_node_that_changes_its_list_changes_nobody_elses(self, cached_bench: Bench) -> None:
        nodes: Nodes = {"r": ("Range", {"n": 3}), "last": ("Last", {"values": ["r", 0]}), "s": shown("last", 0)}
        assert cached_bench.run(nodes).texts == {"s": ("2",)}
        assert cached_bench.run({"r": nodes["r"], "s": shown("r", 0)}).texts == {"s": ("0", "1", "2")}

    def test_what_is_done_to_a_result_is_not_kept(self, cached_bench: Bench) -> None:
        nodes: Nodes = {"r": ("Range", {"n": 3})}
        cached_bench.run(nodes, ["r"]).outputs["r"][0].clear()
        assert cached_bench.run(nodes, ["r"]).outputs["r"] == ([0, 1, 2],)


class TestLazyLists:
    def test_a_lazy_list_is_mapped(self, bench: Bench) -> None:
        nodes: Nodes = {
            "r": ("Range", {"n": 3}),
            "choose": ("Choose", {"first": True, "yes": ["r", 0], "no": 9}),
            "s": shown("choose", 0),
        }
        assert bench.run(nodes).texts == {"s": ("0", "1", "2")}

    @pytest.mark.parametrize("kind", ["Choose", "LaterChoose"])
    def test_each_call_takes_its_own_branch(self, bench: Bench, kind: str) -> None:
        nodes: Nodes = {
            "which": ("Truths", {"text": "tft"}),
            "r": ("Range", {"n": 4}),
            "no": ("Int", {"value": 9}),
            "choose": (kind, {"first": ["which", 0], "yes": ["r", 0], "no": ["no", 0]}),
            "s": shown("choose", 0),
        }
        assert bench.run(nodes).texts == {"s": ("0", "9", "2", "3")}

    def test_calls_that_are_done_are_not_made_again_when_another_has_to_wait(self, bench: Bench) -> None:
        nodes: Nodes = {
            "which": ("Truths", {"text": "tf"}),
            "yes": ("Int", {"value": 1}),
            "no": ("Int", {"value": 2}),
            "choose": ("Choose", {"first": ["which", 0], "yes": ["yes", 0], "no": ["no", 0]}),
        }
        bench.run(nodes, ["choose"])
        assert bench.log == ["Int 1", "Choose", "Int 2", "Choose"]

    def test_an_empty_lazy_list_answers_nothing(self, bench: Bench) -> None:
        nodes: Nodes = {
            "r": ("Range", {"n": 0}),
            "which": ("Truths", {"text": "tf"}),
            "choose": ("Choose", {"first": ["which", 0], "yes": ["r", 0], "no": 9}),
            "s": shown("choose", 0),
        }
        result = bench.run(nodes)
        assert result.ok
        assert result.texts == {"s": ("9",)}

    @pytest.mark.parametrize("kind", ["Choose", "LaterChoose"])
    def test_a_blocked_branch_blocks_its_own_call_alone(self, bench: Bench, kind: str) -> None:
        nodes: Nodes = {
            "which": ("Truths", {"text": "tff"}),
            "gate": ("Gate", {"value": 1, "open": False, "message": "shut"}),
            "r": ("Range", {"n": 3}),
            "choose": (kind, {"first": ["which", 0], "yes": ["gate", 0], "no": ["r", 0]}),
            "s": shown("choose", 0),
        }
        assert bench.run(nodes).texts == {"s": ("1", "2")}
        assert bench.seen(events.Blocked) == [events.Blocked("choose", "shut")]


class TestBlocks:
    def test_blocks_in_a_list_block_their_own_calls(self, bench: Bench) -> None:
        nodes: Nodes = {
            "r": ("Range", {"n": 3}),
            "which": ("Truths", {"text": "tft"}),
            "gate": ("Gate", {"value": ["r", 0], "open": ["which", 0]}),
            "add": ("Add", {"a": ["gate", 0], "b": 10}),
            "later": ("Later", {"value": ["add", 0]}),
            "s": shown("later", 0),
        }
        assert bench.run(nodes).texts == {"s": ("10", "12")}

    def test_one_block_in_a_whole_list_blocks_the_call(self, bench: Bench) -> None:
        nodes: Nodes = {
            "which": ("Truths", {"text": "tf"}),
            "gate": ("Gate", {"value": 1, "open": ["which", 0]}),
            "sum": ("Sum", {"values": ["gate", 0]}),
            "s": shown("sum", 0),
        }
        result = bench.run(nodes)
        assert result.ok
        assert not result.texts

    def test_blocks_of_one_kind_are_each_told(self, bench: Bench) -> None:
        nodes: Nodes = {
            "r": ("Range", {"n": 2}),
            "gate": ("Gate", {"value": ["r", 0], "open": False, "message": "shut"}),
            "s": shown("gate", 0),
            "t": ("Add", {"a": ["gate", 0], "b": 1}),
        }
        bench.run(nodes, ["s", "t"])
        assert len(bench.seen(events.Blocked)) == 2


class TestReturns:
    @pytest.mark.parametrize(("kind", "message"), [("BadShow", "declares Artifacts"), ("BadExpand", "declare Expand")])
    def test_what_is_not_declared_is_a_failure(self, bench: Bench, kind: str, message: str) -> None:
        result = bench.run({"b": (kind, {})}, ["b"])
        assert message in str(result.failures["b"])

    def test_a_resource_that_runs_wait_for_hears_that_its_run_is_to_stop(self) -> None:
        token = CancelToken()
        token.cancel()
        supply = Supply(Context(cancel=token), compile(ONE_DESK, registry=OWN, folders=NOWHERE, targets=["desk"]))
        supplied = supply.hidden("desk", OWN["AtDesk"])
        assert isinstance(supplied, dict)
        with pytest.raises(Cancelled):
            supplied["desk"].check()

    def test_a_resource_that_cannot_be_made_is_the_nodes_failure(self, bench: Bench) -> None:
        result = bench.run({"u": ("Unmade", {}), "s": shown("u", 0), "t": ("Show", {"source": 1})})
        assert "there is none here" in str(result.failures["u"])
        assert result.texts == {"t": ("1",)}
