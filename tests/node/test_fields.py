"""What a signature may say: aliases with their ranges, and graphs under construction."""

from __future__ import annotations

from typing import Any

import pytest

from graphexec.node.fields import (
    BatchSize,
    Cfg,
    FilenamePrefix,
    Graph,
    Output,
    Pixels,
    Seed,
    Steps,
    Strength,
    Text,
    Unit,
    WorkflowInfo,
)
from node.nodes import input_of


@pytest.mark.parametrize(
    ("alias", "wire", "low", "high"),
    [
        (Seed, "INT", 0, 2**64 - 1),
        (Steps, "INT", 1, 10_000),
        (Cfg, "FLOAT", 0.0, 100.0),
        (Unit, "FLOAT", 0.0, 1.0),
        (Strength, "FLOAT", -100.0, 100.0),
        (Pixels, "INT", 16, 16_384),
        (BatchSize, "INT", 1, 4096),
        (Text, "STRING", None, None),
        (FilenamePrefix, "STRING", None, None),
    ],
)
def test_aliases_state_ranges_as_comfyui_has_them(alias: Any, wire: str, low: float | None, high: float | None) -> None:
    given = input_of(alias)
    assert (given.wire, given.minimum, given.maximum) == (wire, low, high)


def test_aliases_say_how_they_look() -> None:
    assert input_of(Seed).look.control_after_generate
    assert (input_of(Text).look.multiline, input_of(Text).look.dynamic_prompts) == (True, True)
    assert input_of(FilenamePrefix).look.filename_prefix
    assert (input_of(Cfg).look.step, input_of(Cfg).look.round) == (0.1, 0.01)


class TestGraph:
    def test_nodes_are_named_and_linked(self) -> None:
        graph = Graph()
        first = graph.node("Int", value=1)
        second = graph.node("Add", id="sum", a=first, b=Output("1", 1))
        assert (first, second) == (Output("1"), Output("sum", 0))
        assert graph.nodes == {"1": ("Int", {"value": 1}), "sum": ("Add", {"a": first, "b": Output("1", 1)})}

    def test_inputs_may_be_called_anything(self) -> None:
        graph = Graph()
        graph.node("A", class_type="x", self=2)
        assert graph.nodes["1"] == ("A", {"class_type": "x", "self": 2})

    def test_numbers_that_are_taken_are_not_given_again(self) -> None:
        graph = Graph()
        assert (graph.node("A", id="2"), graph.node("B"), graph.node("C")) == (Output("2"), Output("3"), Output("4"))

    def test_two_nodes_of_one_name(self) -> None:
        graph = Graph()
        graph.node("Int", id="a")
        with pytest.raises(ValueError, match="two nodes called 'a'"):
            graph.node("Int", id="a")

    def test_graphs_share_nothing(self) -> None:
        Graph().node("Int")
        assert Graph().nodes == {}


def test_workflow_infos_share_nothing() -> None:
    assert WorkflowInfo().prompt is not WorkflowInfo().prompt
