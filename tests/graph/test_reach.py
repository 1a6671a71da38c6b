"""What is needed, where a workflow is broken further on."""

from __future__ import annotations

from typing import Any

import pytest
from running import NOWHERE, REGISTRY, workflow

from graphexec.graph.compile import check

BAD: dict[str, Any] = workflow(
    {
        "bad": ("Int", {"value": "x"}),
        "add": ("Add", {"a": ["bad", 0], "b": 1}),
        "show": ("Show", {"source": ["add", 0]}),
    }
)
"""Its first node is faulty, and needed."""


def found(nodes: dict[str, Any], **options: Any) -> dict[tuple[str, str | None], str]:
    diagnostics = check(nodes, registry=REGISTRY, folders=NOWHERE, **options).diagnostics
    return {(each.code, each.node): each.severity for each in diagnostics}


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


BREAKS: dict[str, dict[str, Any]] = {
    "an unknown class in between": {"odd": node("Gone", x=["add", 0]), "show": node("Show", source=["odd", 0])},
    "an output of unknown class": {"show": node("Gone", source=["add", 0])},
    "a node without class in between": {"add": {"inputs": {"a": ["bad", 0]}}},
    "a node without inputs that can be read": {"add": {"class_type": "Add", "inputs": 3}},
    "a link to a missing node": {"show": node("Show", source=["404", 0])},
    "a link to a missing node in an unknown one": {
        "odd": node("Gone", x=["404", 0]),
        "show": node("Show", source=["odd", 0]),
    },
    "a link that cannot be read": {"show": node("Show", source=["add"])},
    "a missing link": {"show": node("Show"), "eat": node("EatApple")},
}


@pytest.mark.parametrize("changes", BREAKS.values(), ids=BREAKS)
def test_a_fault_stays_an_error_behind_something_broken(changes: dict[str, Any]) -> None:
    told = found({**BAD, **changes})
    assert told["invalid_input_type", "bad"] == "error"
    assert "unused_node" not in {code for code, _ in told}
    assert len(told) > 1


def test_what_is_broken_elsewhere_makes_nothing_needed() -> None:
    """A fault of a link that no target needs."""
    told = found({**BAD, "show": node("Show", source=1), "other": node("Show", source=["404", 0])}, targets=["show"])
    assert told["invalid_input_type", "bad"] == "warning"


def test_unused_nodes_are_told_beside_a_fault_of_a_value() -> None:
    assert found({**BAD, "idle": node("Int", value=1)})["unused_node", "idle"] == "warning"


def test_links_of_a_node_of_unknown_class_are_checked() -> None:
    told = found({**BAD, "odd": node("Gone", x=["404", 0], y=["bad", 0])})
    assert [who for code, who in told if code == "linked_node_missing"] == ["odd"]
