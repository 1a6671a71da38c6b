"""The built-in nodes have ComfyUI's names, inputs, ranges, defaults and outputs; what is absent has a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import graphexec_nodes
from graphexec.node.registry import Registry
from graphexec.node.views import object_info
from graphexec_nodes.absent import ABSENT

DATA = Path(__file__).parents[1] / "data/object_info"
RECORDED: dict[str, Any] = {
    name: node
    for file in ("core", "training")
    for name, node in json.loads((DATA / f"{file}.json").read_text()).items()
}
"""What ComfyUI 0.3.64 says of its nodes for Stable Diffusion; FILE stands for the names of a folder's files.

SaveLoRA and the nodes for sets of pictures in folders are those of later versions.
"""

REGISTRY = Registry().with_nodes(graphexec_nodes)
NATIVE = sorted(set(RECORDED) & set(REGISTRY))
COMPARED = ("default", "min", "max", "step", "round", "multiline", "dynamicPrompts", "control_after_generate")


def shown(name: str) -> dict[str, Any]:
    return object_info(REGISTRY[name])


def told(name: str, given: str, kind: list[Any]) -> tuple[Any, dict[str, Any]]:
    """Type and options of an input of ours, as they are recorded."""
    options = {option: value for option, value in kind[1].items() if option in COMPARED}
    return ("FILE" if REGISTRY[name].inputs[given].folder else kind[0]), options


def wanted(kind: list[Any]) -> tuple[Any, dict[str, Any]]:
    """Type and options as recorded: each choice once."""
    given: Any = kind[0]
    return given if isinstance(given, str) else [*dict.fromkeys(given)], kind[1]


@pytest.mark.parametrize("name", NATIVE)
class TestNativeNodes:
    def test_inputs(self, name: str) -> None:
        ours = {
            group: {given: told(name, given, kind) for given, kind in inputs.items()}
            for group, inputs in shown(name)["input"].items()
            if group != "hidden" and inputs
        }
        recorded = RECORDED[name]["input"]
        assert ours == {
            group: {given: wanted(kind) for given, kind in inputs.items()} for group, inputs in recorded.items()
        }

    def test_the_order_is_that_of_widgets_in_files_of_the_editor(self, name: str) -> None:
        assert list(REGISTRY[name].inputs) == [given for group in RECORDED[name]["input"].values() for given in group]

    def test_outputs_and_names(self, name: str) -> None:
        ours = shown(name)
        same = ("output", "output_is_list", "output_name", "output_node", "display_name", "category")
        assert {key: ours[key] for key in same} == {key: RECORDED[name][key] for key in same}


def test_every_prefix_of_file_names_is_checked_before_the_run() -> None:
    prefixes = {
        name: given.look.filename_prefix
        for name in REGISTRY
        if REGISTRY[name].artifact_slots
        for given in REGISTRY[name].inputs.values()
        if "prefix" in given.name
    }
    assert {"SaveImage", "SaveLoRA", "LossGraphNode"} <= set(prefixes)
    assert [name for name, is_checked in prefixes.items() if not is_checked] == []


class TestAbsentNodes:
    def test_every_node_is_here_or_absent_for_a_reason(self) -> None:
        assert set(RECORDED) - set(REGISTRY) - set(ABSENT) == set()

    def test_no_node_is_both(self) -> None:
        assert not set(ABSENT) & set(REGISTRY)

    def test_only_nodes_of_comfyui_are_absent(self) -> None:
        assert set(ABSENT) <= set(RECORDED)
