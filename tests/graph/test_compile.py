"""Compiling: every verdict of ComfyUI's, all at once, each with its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import networkx as nx
import pytest
from running import NOWHERE, REGISTRY, Bench, Nodes, checked, faults, only, planned, workflow

import graphexec_nodes
from graphexec.errors import WorkflowError
from graphexec.graph.compile import check
from graphexec.graph.compile import compile as compile_workflow
from graphexec.graph.folders import Folders
from graphexec.graph.plan import Wire
from graphexec.graph.workflow import read_workflow
from graphexec.node.registry import Place

SOUND: Nodes = {
    "1": ("Int", {"value": 2}),
    "2": ("Add", {"a": ["1", 0], "b": 3}),
    "3": ("Show", {"source": ["2", 0]}),
}


def altered(name: str, **inputs: Any) -> Nodes:
    """SOUND with other inputs of one node; None takes an input away."""
    kind, given = SOUND[name]
    merged = {key: value for key, value in {**given, **inputs}.items() if value is not ...}
    return {**SOUND, name: (kind, merged)}


def test_a_sound_workflow_has_a_plan_and_nothing_to_say() -> None:
    compiled = checked(SOUND)
    assert compiled.plan is not None
    assert compiled.diagnostics == ()


def test_compile_raises_with_everything() -> None:
    with pytest.raises(WorkflowError) as caught:
        compile_workflow(workflow(altered("1", value=...)), registry=REGISTRY, folders=NOWHERE)
    assert [d.code for d in caught.value.diagnostics] == ["required_input_missing"]


class TestNodes:
    def test_unknown_class(self) -> None:
        found = only({**SOUND, "2": ("Ad", {"a": 1})})
        assert (found.code, found.node, found.input) == ("missing_node_type", "2", None)
        assert "`Add`" in (found.hint or "")
        assert found.pointer == "/2/class_type"

    def test_a_class_that_a_pack_leaves_out_has_the_reason_rather_than_a_guess(self) -> None:
        pack = ModuleType("pack")
        vars(pack).update(ABSENT={"Ad": "It adds nothing."})
        nodes = workflow({**SOUND, "2": ("Ad", {"a": ["1", 0]})})
        (found,) = check(nodes, registry=REGISTRY.with_nodes(pack), folders=NOWHERE).diagnostics
        assert (found.code, found.hint) == ("missing_node_type", "It adds nothing.")

    def test_a_class_that_may_be_in_a_pack_that_could_not_be_loaded(self) -> None:
        registry = replace(REGISTRY, broken={"more": "ImportError: no luck"})
        (found,) = check(workflow({"1": ("Nope", {})}), registry=registry, folders=NOWHERE).diagnostics
        assert (found.hint or "").endswith("; packs that could not be loaded may have it: more")

    def test_a_class_whose_module_cannot_be_imported(self) -> None:
        registry = replace(REGISTRY, functions={**REGISTRY.functions, "B": Place("B", "no_such_module")}, _specs={})
        nodes: Nodes = {**SOUND, "b": ("B", {})}
        (found,) = [d for d in check(workflow(nodes), registry=registry, folders=NOWHERE).diagnostics if d.node == "b"]
        assert (found.code, found.pointer) == ("missing_node_type", "/b/class_type")
        assert found.message.endswith("cannot be imported: ModuleNotFoundError: No module named 'no_such_module'")

    def test_an_unknown_class_is_an_error_even_where_nobody_needs_it(self) -> None:
        assert only({**SOUND, "9": ("Nope", {})}).severity == "error"

    def test_no_output_node(self) -> None:
        found = only({"1": ("Int", {"value": 1})})
        assert (found.code, found.node, found.message) == ("prompt_no_outputs", None, "Prompt has no outputs")

    def test_an_empty_workflow(self) -> None:
        assert faults({}) == [("prompt_no_outputs", None, None)]

    def test_unused_nodes_warn(self) -> None:
        found = only({**SOUND, "9": ("Int", {"value": 1})})
        assert (found.code, found.node, found.severity) == ("unused_node", "9", "warning")

    def test_faults_of_unused_nodes_warn(self) -> None:
        compiled = checked({**SOUND, "9": ("Int", {"value": "x"})})
        assert compiled.plan is not None
        assert {d.severity for d in compiled.diagnostics} == {"warning"}

    def test_titles_are_named(self) -> None:
        document = workflow(altered("1", value="x"))
        document["1"]["_meta"] = {"title": "The Number"}
        (found,) = check(document, registry=REGISTRY, folders=NOWHERE).diagnostics
        assert (found.title, found.class_type) == ("The Number", "Int")


def test_a_value_that_the_file_does_not_say_is_at_none_of_its_lines() -> None:
    read = read_workflow(json.dumps(workflow(SOUND)).encode()).with_inputs({("1", "value"): "x"})
    (found,) = check(read, registry=REGISTRY, folders=NOWHERE).diagnostics
    assert (found.pointer, found.line, found.column) == ("/1/inputs/value", None, None)


class TestInputs:
    def test_missing_with_a_default(self) -> None:
        found = only(altered("1", value=...))
        assert (found.code, found.node, found.input) == ("required_input_missing", "1", "value")
        assert "--fill-defaults" in (found.hint or "")
        assert "default 0" in (found.hint or "")

    def test_missing_without_a_default(self) -> None:
        found = only(altered("2", a=...), targets=["3"])
        assert (found.code, found.node, found.input) == ("required_input_missing", "2", "a")
        assert found.hint == f"add {found.expected}"

    def test_fill_defaults(self) -> None:
        compiled = checked(altered("1", value=...), fill_defaults=True)
        assert [(d.code, d.severity) for d in compiled.diagnostics] == [("default_filled", "warning")]
        assert compiled.plan is not None
        assert compiled.plan.nodes["1"].constants == {"value": 0}

    def test_a_default_file_is_looked_for(self, tmp_path: Path) -> None:
        nodes = workflow({"1": ("Read", {}), "2": ("Show", {"source": ["1", 0]})})
        folders = Folders.from_roots(tmp_path)
        found = check(nodes, registry=REGISTRY, folders=folders, fill_defaults=True).diagnostics
        assert [d.code for d in found] == ["default_filled", "value_not_in_list"]
        assert "its default 'usual.safetensors' is used" in found[0].message
        (tmp_path / "loras").mkdir()
        file = tmp_path / "loras/usual.safetensors"
        file.touch()
        folders = Folders.from_roots(tmp_path)
        plan = compile_workflow(nodes, registry=REGISTRY, folders=folders, fill_defaults=True)
        assert plan.nodes["1"].constants == {"file": file}

    def test_an_optional_input_may_be_missing_or_null(self) -> None:
        for inputs in ({"text": "a"}, {"text": "a", "times": None}):
            assert faults({"1": ("Say", inputs), "2": ("Show", {"source": ["1", 0]})}) == []

    @pytest.mark.parametrize("inputs", [{}, {"value": None, "lazy": None}])
    def test_an_optional_input_without_a_default_is_none(self, inputs: dict[str, Any]) -> None:
        nodes: Nodes = {"1": ("Given", inputs), "2": ("Show", {"source": ["1", 0]})}
        assert Bench().run(nodes).texts == {"2": ("None None",)}

    @pytest.mark.parametrize(
        ("inputs", "text"), [({}, "5 None"), ({"value": None, "words": None}, "None None"), ({"value": 6}, "6 None")]
    )
    def test_null_is_none_whatever_the_default(self, inputs: dict[str, Any], text: str) -> None:
        nodes: Nodes = {"1": ("Told", inputs), "2": ("Show", {"source": ["1", 0]})}
        assert Bench().run(nodes).texts == {"2": (text,)}

    def test_undeclared_inputs_warn_and_are_errors_when_strict(self) -> None:
        found = only(altered("1", valeu=3))
        assert (found.code, found.input, found.severity) == ("undeclared_input", "valeu", "warning")
        assert found.hint == "did you mean `value`?"
        assert only(altered("1", valeu=3), strict=True).severity == "error"
        assert only(altered("1", valeu=["3", 0])).received == "['3', 0]"

    @pytest.mark.parametrize("button", ["upload", "choose file to upload"])
    def test_the_button_beside_a_list_of_pictures_is_passed_over(self, button: str) -> None:
        nodes = workflow({"1": ("LoadImage", {"image": "a.png", button: "image"}), "2": ("Show", {"source": ["1", 0]})})
        registry = REGISTRY.with_nodes(graphexec_nodes)
        assert not check(nodes, registry=registry, folders=NOWHERE, check_files=False, strict=True).diagnostics
        assert only(altered("1", **{button: "image"})).code == "undeclared_input"

    @pytest.mark.parametrize(
        ("value", "code", "severity"),
        [
            ("7", "lossy_conversion", "warning"),
            (3.9, "lossy_conversion", "warning"),
            (True, "lossy_conversion", "warning"),
            ("five", "invalid_input_type", "error"),
            (None, "invalid_input_type", "error"),
            ({"a": 1}, "invalid_input_type", "error"),
            ({"__value__": [1]}, "invalid_input_type", "error"),
            (-1001, "value_smaller_than_min", "error"),
            (1001, "value_bigger_than_max", "error"),
        ],
    )
    def test_values(self, value: Any, code: str, severity: str) -> None:
        found = only(altered("1", value=value))
        assert (found.code, found.severity, found.node, found.input) == (code, severity, "1", "value")
        assert found.expected == "INT from -1000 to 1000"
        assert found.pointer == "/1/inputs/value"
        assert only(altered("1", value=value), strict=True).severity == "error"

    def test_converted_values_reach_the_node_and_the_prompt_stays(self) -> None:
        plan = planned(altered("1", value="7"))
        assert plan.nodes["1"].constants == {"value": 7}
        assert plan.workflow.prompt["1"]["inputs"]["value"] == "7"

    def test_choices(self) -> None:
        found = only({"1": ("Scale", {"value": 1, "factor": 1.0, "mode": "upp"}), "2": ("Show", {"source": ["1", 0]})})
        assert found.code == "value_not_in_list"
        assert found.hint == "did you mean `up`?"

    def test_a_socket_takes_no_value(self) -> None:
        found = only({"1": ("EatApple", {"apple": 5})})
        assert (found.code, found.expected) == ("invalid_input_type", "a link to an output of type APPLE")


class TestLinks:
    def test_to_a_missing_node(self) -> None:
        found = only(altered("2", a=["7", 0]), targets=["3"])
        assert (found.code, found.node, found.input) == ("linked_node_missing", "2", "a")

    def test_only_the_first_missing_nodes_are_compared_with_every_other(self) -> None:
        nodes: dict[str, Any] = {f"node{place}": ("Add", {"a": [f"node{place}x", 0], "b": 1}) for place in range(120)}
        nodes["s"] = ("Show", {"source": ["node0", 0]})
        hints = [d.hint or "" for d in checked(nodes).diagnostics if d.code == "linked_node_missing"]
        assert [hint.startswith("did you mean") for hint in hints] == [True] * 100 + [False] * 20

    def test_slot_out_of_range(self) -> None:
        found = only(altered("2", a=["1", 4]))
        assert (found.code, found.input) == ("output_slot_out_of_range", "a")
        assert "has 1 output (0 to 0)" in found.message

    def test_types_that_do_not_meet(self) -> None:
        found = only({"1": ("Plant", {}), "2": ("EatApple", {"apple": ["1", 1]})})
        assert found.code == "return_type_mismatch"
        assert "received_type(PEAR) mismatch input_type(APPLE)" in found.message
        assert found.hint == "output 0 of node 1 is of type APPLE"

    def test_a_union_takes_either(self) -> None:
        for slot in (0, 1):
            assert faults({"1": ("Plant", {}), "2": ("EatFruit", {"fruit": ["1", slot]})}) == []

    def test_int_does_not_feed_float(self) -> None:
        nodes: Nodes = {"1": ("Int", {"value": 1}), "2": ("Scale", {"value": 1, "factor": ["1", 0], "mode": "up"})}
        assert ("return_type_mismatch", "2", "factor") in faults({**nodes, "3": ("Show", {"source": ["2", 0]})})

    def test_a_text_does_not_feed_a_choice(self) -> None:
        nodes: Nodes = {
            "1": ("Say", {"text": "up"}),
            "2": ("Scale", {"value": 1, "factor": 1.0, "mode": ["1", 0]}),
            "3": ("Show", {"source": ["2", 0]}),
        }
        assert faults(nodes) == [("return_type_mismatch", "2", "mode")]

    def test_linked_values_are_not_range_checked(self) -> None:
        nodes: Nodes = {
            "1": ("Int", {"value": 999}),
            "2": ("Even", {"value": ["1", 0]}),
            "3": ("Show", {"source": ["2", 0]}),
        }
        assert faults(nodes) == []

    def test_a_tied_wildcard_carries_its_type(self) -> None:
        nodes: dict[str, Any] = {"0": ("Plant", {})}
        for place in range(1, 50):
            nodes[str(place)] = ("Same", {"value": [str(place - 1), 1 if place == 1 else 0]})
        nodes["eat"] = ("EatApple", {"apple": ["49", 0]})
        found = only(nodes)
        assert "received_type(PEAR)" in found.message
        nodes["1"] = ("Same", {"value": ["0", 0]})
        assert faults(nodes) == []

    def test_tied_inputs_agree(self) -> None:
        nodes: Nodes = {
            "0": ("Plant", {}),
            "1": ("Same", {"value": ["0", 0], "like": ["0", 1]}),
            "2": ("Show", {"source": ["1", 0]}),
        }
        assert faults(nodes) == [("return_type_mismatch", "1", "like")]


class TestCycles:
    def test_the_path_is_named(self) -> None:
        nodes: Nodes = {
            "1": ("Add", {"a": ["2", 0], "b": 1}),
            "2": ("Add", {"a": ["1", 0], "b": 1}),
            "3": ("Show", {"source": ["2", 0]}),
        }
        found = only(nodes)
        assert (found.code, found.node, found.input) == ("dependency_cycle", "1", "a")
        assert found.message == "Dependency cycle detected: 1 (Add) -> 2 (Add) -> 1 (Add)"

    def test_a_node_linked_to_itself(self) -> None:
        found = only({"1": ("Add", {"a": ["1", 0], "b": 1}), "2": ("Show", {"source": ["1", 0]})})
        assert (found.code, found.message) == ("dependency_cycle", "Dependency cycle detected: 1 (Add) -> 1 (Add)")

    def test_every_knot_is_named_once(self) -> None:
        nodes: dict[str, Any] = {}
        for a, b in (("1", "2"), ("3", "4")):
            nodes[a] = ("Add", {"a": [b, 0], "b": 1})
            nodes[b] = ("Add", {"a": [a, 0], "b": 1})
            nodes["s" + a] = ("Show", {"source": [a, 0]})
        assert [code for code, _, _ in faults(nodes)] == ["dependency_cycle"] * 2

    def test_a_long_cycle_is_told_in_short(self) -> None:
        nodes: dict[str, Any] = {
            str(place): ("Add", {"a": [str((place + 1) % 500), 0], "b": 1}) for place in range(500)
        }
        found = only({**nodes, "s": ("Show", {"source": ["0", 0]})})
        assert "… 481 more …" in found.message
        assert len(found.message) < 500

    def test_a_cycle_nobody_needs_warns(self) -> None:
        nodes: Nodes = {**SOUND, "8": ("Add", {"a": ["9", 0], "b": 1}), "9": ("Add", {"a": ["8", 0], "b": 1})}
        compiled = checked(nodes)
        assert compiled.plan is not None
        assert "dependency_cycle" in {d.code for d in compiled.diagnostics}


class TestTogether:
    def test_all_faults_come_at_once_in_the_order_of_the_file(self) -> None:
        nodes: Nodes = {
            "c": ("Show", {"source": ["b", 3]}),
            "b": ("Add", {"a": ["gone", 0], "b": "x"}),
            "a": ("Nope", {}),
        }
        expected = [
            ("output_slot_out_of_range", "c", "source"),
            ("linked_node_missing", "b", "a"),
            ("invalid_input_type", "b", "b"),
            ("missing_node_type", "a", None),
        ]
        assert faults(nodes) == expected == faults(nodes)

    def test_faults_of_a_node_come_line_by_line(self) -> None:
        inputs = ['"c": 1', '"b": "x"', '"a": ["gone"]']
        text = '{"1": {"class_type": "Add", "inputs": {\n' + ",\n".join(inputs) + "}}}"
        found = check(text.encode(), registry=REGISTRY, folders=NOWHERE, targets=["1"]).diagnostics
        assert [(d.line, d.code) for d in found] == [
            (2, "undeclared_input"),
            (3, "invalid_input_type"),
            (4, "bad_linked_input"),
        ]

    def test_faults_of_reading_and_checking_come_together(self) -> None:
        text = b'{"1": {"class_type": "Int", "inputs": {"value": 5, "value": 6}}, "2": [], "3": {"class_type": "Nope"}}'
        found = check(text, registry=REGISTRY, folders=NOWHERE, targets=["1"]).diagnostics
        codes = [(d.code, d.node) for d in found if d.severity == "error"]
        assert codes == [("duplicate_key", "1"), ("invalid_node", "2"), ("missing_node_type", "3")]
        assert all(d.line == 1 for d in found)

    @pytest.mark.parametrize("wrapped", ["%s", '{"prompt": %s}'])
    def test_a_class_given_twice_is_an_error_though_the_last_is_needed_by_nobody(self, wrapped: str) -> None:
        text = wrapped % '{"1": {"class_type": "Show", "class_type": "Int", "inputs": {}}, "2": {"class_type": "Show"}}'
        found = check(text.encode(), registry=REGISTRY, folders=NOWHERE, targets=["2"], fill_defaults=True).diagnostics
        assert ("duplicate_key", "1", "error") in {(d.code, d.node, d.severity) for d in found}


class TestHooks:
    def even(self, value: Any) -> Nodes:
        return {"1": ("Even", {"value": value}), "2": ("Show", {"source": ["1", 0]})}

    def test_check_takes_over_the_range(self) -> None:
        assert faults(self.even(40)) == []

    def test_check_says_what_is_wrong(self) -> None:
        found = only(self.even(3))
        assert (found.code, found.node, found.input) == ("custom_validation_failed", "1", "value")
        assert "3 is odd" in found.message

    def test_links_come_as_none_with_their_types(self) -> None:
        assert faults({**self.even(["0", 0]), "0": ("Int", {"value": 3})}) == []

    def test_links_are_still_type_checked(self) -> None:
        assert ("return_type_mismatch", "1", "value") in faults({**self.even(["0", 0]), "0": ("Say", {"text": "3"})})


class TestPlaceholders:
    def prefix(self, text: str) -> Any:
        return (
            planned(
                {
                    "5": ("Int", {"value": 7}),
                    "1": ("Write", {"text": "hi", "filename_prefix": text}),
                    "6": ("Show", {"source": ["5", 0]}),
                }
            )
            .nodes["1"]
            .constants["filename_prefix"]
        )

    def test_other_nodes_values_are_filled_in(self) -> None:
        assert self.prefix("run_%5.value%_%Int.value%") == "run_7_7"

    def test_dates_are_left_to_the_moment_of_writing(self) -> None:
        assert self.prefix("%date:yyyy-MM-dd%/%width%") == "%date:yyyy-MM-dd%/%width%"

    def test_values_make_no_folders(self) -> None:
        nodes: Nodes = {"5": ("Say", {"text": "a/../b"}), "1": ("Write", {"text": "", "filename_prefix": "%5.text%"})}
        assert (
            planned({**nodes, "6": ("Show", {"source": ["5", 0]})}).nodes["1"].constants["filename_prefix"] == "a_.._b"
        )

    def test_unknown_ones_warn_and_stay(self) -> None:
        found = only({"1": ("Write", {"text": "", "filename_prefix": "%Nope.x%"})})
        assert (found.code, found.severity) == ("unknown_placeholder", "warning")


@pytest.mark.parametrize("name", ["/models/x.safetensors", "../x.safetensors", "C:\\x.safetensors"])
@pytest.mark.parametrize("check_files", [True, False])
def test_names_of_files_stay_in_their_folder(name: str, *, check_files: bool) -> None:
    nodes: Nodes = {"1": ("Read", {"file": name}), "2": ("Show", {"source": ["1", 0]})}
    found = only(nodes, check_files=check_files)
    assert (found.code, found.node, found.input) == ("file_outside_folder", "1", "file")


@pytest.mark.parametrize("prefix", ["../x", "a/../../x", "/tmp/x", "..\\x", "\\x"])
def test_prefixes_stay_in_the_output_folder(prefix: str) -> None:
    found = only({"1": ("Write", {"text": "", "filename_prefix": prefix})})
    assert (found.code, found.node, found.input) == ("prefix_outside_output", "1", "filename_prefix")


@pytest.mark.parametrize("prefix", ["%date:yyyy-MM-dd hh:mm:ss%", "x\ny", "a" * 300, "b" * 249, "a/%height%?"])
def test_prefixes_that_no_file_can_have_are_refused_before_anything_runs(prefix: str) -> None:
    found = only({"1": ("Write", {"text": "", "filename_prefix": prefix})})
    assert (found.code, found.node, found.input) == ("bad_filename_prefix", "1", "filename_prefix")


@pytest.mark.parametrize(
    "prefix", ["a/b/c", "a..b", "...", "%date:yyyy%/x", "%date:hh-mm%", "a" * 240, "%batch_num%" * 50]
)
def test_prefixes_may_name_subfolders(prefix: str) -> None:
    assert faults({"1": ("Write", {"text": "", "filename_prefix": prefix})}) == []


class TestTargets:
    def test_a_target_need_not_be_an_output_node(self) -> None:
        assert list(planned(SOUND, targets=["2"]).nodes) == ["1", "2"]

    def test_an_unknown_target(self) -> None:
        found = checked(SOUND, targets=["22"]).diagnostics
        assert [(d.code, d.severity) for d in found] == [("target_missing", "error")]

    def test_no_target_is_no_output(self) -> None:
        assert [d.code for d in checked(SOUND, targets=[]).diagnostics if d.severity == "error"] == [
            "prompt_no_outputs"
        ]

    def test_faults_elsewhere_do_not_stop_it(self) -> None:
        nodes: Nodes = {**SOUND, "9": ("Show", {"source": ["gone", 0]})}
        assert checked(nodes).plan is None
        assert checked(nodes, targets=["3"]).plan is not None


class TestPlan:
    def test_the_graph_is_a_frozen_dag_of_typed_edges(self) -> None:
        graph = planned(SOUND).graph
        assert nx.is_directed_acyclic_graph(graph)
        assert graph.edges["1", "2"]["wires"] == (Wire("a", "1", 0, lazy=False),)
        with pytest.raises(nx.NetworkXError):
            graph.add_node("x")

    def test_identical_nodes_are_merged(self) -> None:
        plan = planned({**SOUND, "8": ("Add", {"a": ["1", 0], "b": 3}), "9": ("Show", {"source": ["8", 0]})})
        assert plan.aliases == {"8": "2", "9": "3"}
        assert plan.targets == ("3",)

    def test_a_deep_chain(self) -> None:
        nodes: dict[str, Any] = {"0": ("Int", {"value": 0})}
        for place in range(1, 20_000):
            nodes[str(place)] = ("Add", {"a": [str(place - 1), 0], "b": 1})
        nodes["show"] = ("Show", {"source": ["19999", 0]})
        assert len(planned(nodes).nodes) == 20_001


def test_a_missing_file_is_a_diagnostic(tmp_path: Path) -> None:
    found = check(tmp_path / "none.json", registry=REGISTRY, folders=NOWHERE).diagnostics
    assert found[0].missing_file
