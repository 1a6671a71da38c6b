"""Settings of inputs: which node they mean, what they say, and all that is wrong with them at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphexec.errors import AllFaults, Diagnostic, WorkflowError
from graphexec.graph.overrides import JsonText, apply_overrides, parse_set, read_set_file, resolve_node
from graphexec.graph.workflow import Link, Workflow, WorkflowNode, read_workflow

NODES: dict[str, Any] = {
    "1": {"class_type": "KSampler", "inputs": {"seed": 1, "model": ["4", 0]}, "_meta": {"title": "First pass"}},
    "2": {"class_type": "KSampler", "inputs": {"seed": 2}, "_meta": {"title": "Second pass"}},
    "3": {"class_type": "VAEDecode", "inputs": {}, "_meta": {"title": "4"}},
    "4": {"class_type": "Loader", "inputs": {}, "_meta": {"title": "v1.5"}},
    "5": {"class_type": "A", "inputs": {}, "_meta": {"title": "twin"}},
    "6": {"class_type": "B", "inputs": {}, "_meta": {"title": "twin"}},
    "7": {"inputs": {}},
}


@pytest.fixture
def workflow() -> Workflow:
    return read_workflow(NODES)


def whole_number(node: WorkflowNode, name: str, text: Any) -> Any:
    if type(text) is not str:
        return text
    if not text.isdecimal():
        raise WorkflowError([Diagnostic(code="invalid_input_type", message=f"{text} is no number", node=node.id)])
    return int(text)


def made(workflow: Workflow, settings: Sequence[tuple[str, str, Any]], convert: Any = whole_number) -> Workflow:
    """The workflow with settings that are all right."""
    faults = AllFaults()
    changed = apply_overrides(workflow, settings, convert, faults)
    assert not faults.found
    return changed


def wrong(call: Any, *args: Any) -> list[tuple[str, str | None]]:
    with pytest.raises(WorkflowError) as caught:
        call(*args)
    return [(d.code, d.received) for d in caught.value.diagnostics]


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.json"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("ref", "node"), [("4", "4"), ("Second pass", "2"), ("VAEDecode", "3"), ("v1.5", "4"), ("B", "6")]
)
def test_a_node_goes_by_id_then_title_then_class(workflow: Workflow, ref: str, node: str) -> None:
    assert resolve_node(workflow, ref) == node


def test_what_names_no_node_is_refused_with_a_guess(workflow: Workflow) -> None:
    with pytest.raises(WorkflowError) as caught:
        resolve_node(workflow, "Secnd pass")
    (found,) = caught.value.diagnostics
    assert (found.code, found.hint) == ("unknown_node", "did you mean Second pass?")
    assert wrong(resolve_node, workflow, "7") == [("unknown_node", "7")]


@pytest.mark.parametrize(("ref", "ids"), [("KSampler", "1, 2"), ("twin", "5, 6")])
def test_what_names_several_lists_them(workflow: Workflow, ref: str, ids: str) -> None:
    with pytest.raises(WorkflowError, match=f"'{ref}': {ids}") as caught:
        resolve_node(workflow, ref)
    assert caught.value.diagnostics[0].code == "ambiguous_node"


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("6.seed=42", ("6", "seed", "42")),
        ("First pass.seed=1", ("First pass", "seed", "1")),
        ("v1.5.name=a.b=c", ("v1.5", "name", "a.b=c")),
        ("6.text=", ("6", "text", "")),
        ('6.model=["4", 0]', ("6", "model", '["4", 0]')),
        ("6.time_embed.=0.5", ("6", "time_embed.", "0.5")),
    ],
)
def test_a_setting_is_split_at_the_last_dot_before_the_first_equals(setting: str, parts: tuple[str, str, str]) -> None:
    assert parse_set(setting) == parts


@pytest.mark.parametrize("setting", ["", "6", "6.seed", "seed=1", ".seed=1", "6.=1", ".=1", "a=b.c"])
def test_a_setting_without_its_parts_is_refused(setting: str) -> None:
    assert wrong(parse_set, setting) == [("invalid_setting", setting)]


def test_texts_are_converted_and_json_is_taken_as_it_is(workflow: Workflow, tmp_path: Path) -> None:
    file = {
        "1.text": "42",
        "2": {"model": ["4", 1], "sizes": {"__value__": [1, 2]}, "a.b": {"c": 1}},
        "v1.5.x": None,
        "3.y": {"__value__": {"z": 1}},
    }
    settings = [parse_set("1.seed=7"), *read_set_file(written(tmp_path, json.dumps(file))), ("1", "seed", "8")]
    after = made(workflow, settings)
    assert after.nodes["1"].inputs == {"seed": 8, "model": Link("4", 0), "text": "42"}
    assert type(after.nodes["1"].inputs["text"]) is str
    assert after.nodes["2"].inputs == {"seed": 2, "model": Link("4", 1), "sizes": [1, 2], "a.b": {"c": 1}}
    assert (after.nodes["4"].inputs, after.nodes["3"].inputs) == ({"x": None}, {"y": {"z": 1}})
    assert workflow.nodes["1"].inputs["seed"] == 1


@pytest.mark.parametrize(
    ("setting", "node", "name"),
    [
        ("2.out.", "2", "out."),
        ("2.input_blocks.0.", "2", "input_blocks.0."),
        ("v1.5.input_blocks.0.", "4", "input_blocks.0."),
        ("v1.5.seed", "4", "seed"),
    ],
)
def test_names_of_inputs_may_hold_dots(workflow: Workflow, tmp_path: Path, setting: str, node: str, name: str) -> None:
    file = read_set_file(written(tmp_path, json.dumps({setting: 1})))
    for settings in ([parse_set(f"{setting}=1")], file):
        assert made(workflow, settings).nodes[node].inputs[name] == 1


@pytest.mark.parametrize(("ref", "code"), [("KSampler.a", "ambiguous_node"), ("K.a", "unknown_node")])
def test_dots_make_no_node_of_several_or_none(workflow: Workflow, ref: str, code: str) -> None:
    faults = AllFaults()
    assert apply_overrides(workflow, [(ref, "b.", 1)], whole_number, faults) == workflow
    assert [each.code for each in faults.found] == [code]


def test_a_link_is_replaced_and_a_converter_may_make_one(workflow: Workflow) -> None:
    def linking(node: WorkflowNode, name: str, text: Any) -> Any:
        return Link(*json.loads(text))

    assert made(workflow, [("1", "model", 5)]).prompt["1"]["inputs"]["model"] == 5
    after = made(workflow, [("2", "seed", '["4", 0]')], linking)
    assert after.prompt["2"]["inputs"]["seed"] == ["4", 0]


def test_all_bad_settings_come_at_once(workflow: Workflow) -> None:
    settings = [("9", "a", "1"), ("1", "seed", "x"), ("1", "seed", "5"), ("2", "model", [4, 0]), ("twin", "a", "1")]
    faults = AllFaults()
    assert apply_overrides(workflow, settings, whole_number, faults).nodes["1"].inputs["seed"] == 5
    assert [(d.code, d.node) for d in faults.found] == [
        ("unknown_node", None),
        ("invalid_input_type", "1"),
        ("bad_linked_input", "2"),
        ("ambiguous_node", None),
    ]
    assert '["4", 0]' in (faults.found[2].hint or "")


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("[]", ["invalid_setting"]),
        ('{"seed": 1, ".x": 2, "6.": 3}', ["invalid_setting"] * 3),
        ('{"6.seed": NaN, "6.cfg": 1, "6.cfg": 2}', ["not_finite_number", "duplicate_key"]),
        ('{"6.seed": 1,}', ["invalid_json"]),
        ("", ["empty_file"]),
    ],
)
def test_bad_files_of_settings(tmp_path: Path, text: str, codes: list[str]) -> None:
    assert [code for code, _ in wrong(read_set_file, written(tmp_path, text))] == codes


@pytest.mark.parametrize(("text", "place"), [('{"6.seed": 1,\n 5}', (2, 2)), ("", (None, None)), ("[]", (None, None))])
def test_what_is_wrong_with_a_file_of_settings_is_told_of_that_file(
    tmp_path: Path, text: str, place: tuple[int | None, int | None]
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(WorkflowError) as caught:
        read_set_file(path)
    (found,) = caught.value.diagnostics
    assert (found.source, (found.line, found.column)) == (str(path), place)
    assert "workflow" not in f"{found.message} {found.expected} {found.hint}"


def test_texts_out_of_a_file_are_marked(tmp_path: Path) -> None:
    ((ref, name, value),) = read_set_file(written(tmp_path, '{"6.text": "a"}'))
    assert (ref, name, value) == ("6", "text", "a")
    assert isinstance(value, JsonText)


def test_however_many_settings_there_are_the_nodes_are_looked_through_once() -> None:
    class Counted(dict[str, WorkflowNode]):
        looks = 0

        def values(self) -> Any:
            Counted.looks += 1
            return super().values()

    read = read_workflow({str(i): {"class_type": "A", "inputs": {}, "_meta": {"title": f"t{i}"}} for i in range(100)})
    settings = [(f"t{i}", "x", i) for i in range(100)]
    assert made(replace(read, nodes=Counted(read.nodes)), settings).nodes["7"].inputs == {"x": 7}
    assert Counted.looks == 1
