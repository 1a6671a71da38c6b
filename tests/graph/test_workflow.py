"""Reading workflow files: every broken one says what and where, every sound one comes back as it was."""

from __future__ import annotations

import gc
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.errors import Diagnostic, WorkflowError
from graphexec.graph.workflow import Link, Workflow, WorkflowNode, input_json, read_workflow, shown
from tests.data.broken import big

SOUND: dict[str, Any] = json.loads(big.read("b52"))

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
plain = st.recursive(scalars, lambda inner: st.dictionaries(st.text(), inner, max_size=3), max_leaves=5)
links = st.tuples(st.text(), st.integers(0, 9)).map(list)
literals = st.lists(plain, max_size=3).map(lambda items: {"__value__": items})
nodes: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"class_type": st.text(), "inputs": st.dictionaries(st.text(), plain | links | literals, max_size=4)},
    optional={"_meta": st.fixed_dictionaries({"title": st.text()}), "is_changed": st.lists(scalars)},
)
workflows: st.SearchStrategy[dict[str, Any]] = st.dictionaries(st.text(), nodes, max_size=5)


def node(inputs: Any = None, **others: Any) -> dict[str, Any]:
    return {"class_type": "KSampler", "inputs": inputs or {}, **others}


def refused(source: Any) -> tuple[Diagnostic, ...]:
    with pytest.raises(WorkflowError) as caught:
        read_workflow(source)
    return caught.value.diagnostics


def one(source: Any) -> Diagnostic:
    (found,) = read_workflow(source).diagnostics
    return found


def places(found: tuple[Diagnostic, ...]) -> list[tuple[str, str | None, str | None, int | None]]:
    return [(d.code, d.node, d.input, d.line) for d in found]


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("b06", ("missing_node_type", "4", "class_type", 34)),
        ("b11", ("bad_linked_input", "7", "vae", 86)),
        ("b12", ("bad_linked_input", "7", "vae", 86)),
        ("b20", ("invalid_inputs", "4", "inputs", 36)),
        ("b26", ("not_finite_number", "6", "cfg", 73)),
        ("b29", ("number_too_long", "6", "seed", 71)),
        ("b31", ("duplicate_key", "6", "seed", 72)),
        ("b39", ("wrapped_prompt", None, None, 1)),
        ("b44", ("byte_order_mark", None, None, 1)),
        ("b45", ("byte_order_mark", None, None, 1)),
        ("b49", ("nested_too_deeply", "3", "text", 27)),
    ],
)
def test_broken_files_that_can_be_read_on(file: str, place: tuple[str, str, str, int]) -> None:
    workflow = read_workflow(big.read(file))
    assert places(workflow.diagnostics) == [place]
    assert len(workflow.nodes) + len(workflow.broken) == 8


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("b38", ("ui_format", None, None, 1)),
        ("b40", ("invalid_json", "6", None, 72)),
        ("b41", ("empty_file", None, None, None)),
        ("b43", ("not_a_workflow", None, None, 1)),
    ],
)
def test_broken_files_that_cannot(file: str, place: tuple[str, str | None, str | None, int | None]) -> None:
    assert places(refused(big.read(file))) == [place]


@pytest.mark.parametrize(
    ("file", "count"), [("b32", 5000), ("b42", 0), ("b48", 8), ("b51", 10), ("b52", 8), ("b07", 9), ("b28", 8)]
)
def test_files_whose_shape_is_sound(file: str, count: int) -> None:
    workflow = read_workflow(big.read(file))
    assert workflow.diagnostics == ()
    assert len(workflow.nodes) == count


@given(workflows, st.booleans())
def test_what_is_read_is_what_was_written(document: dict[str, Any], in_memory: bool) -> None:
    workflow = read_workflow(document if in_memory else json.dumps(document).encode())
    assert workflow.prompt == document
    assert workflow.diagnostics == ()
    assert list(workflow.nodes) == list(document)
    for key, found in workflow.nodes.items():
        raw = document[key]
        assert (found.id, found.class_type) == (key, raw["class_type"])
        assert found.title == (raw.get("_meta", {}).get("title") or None)
        assert {name: input_json(value) for name, value in found.inputs.items()} == raw["inputs"]


@given(workflows)
def test_every_input_is_located(document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=1)
    workflow = read_workflow(json.dumps({"prompt": document, "client_id": "x"}, indent=1).encode(), name="a.json")
    plainly = read_workflow(text.encode())
    for found in workflow.nodes.values():
        wrapped, bare = workflow.locate(workflow.pointer + found.pointer), plainly.locate(found.pointer)
        assert wrapped is not None
        assert bare is not None
        assert wrapped[0] == bare[0] + 1
        assert text.splitlines()[bare[0] - 1][bare[1] - 1] == "{"


def test_values_become_links_and_literals() -> None:
    workflow = read_workflow({1: node({"a": ["2", 0], "b": {"__value__": ["2", 0]}, "c": {"d": 1}, "e": ("2", 1)})})
    assert workflow.nodes["1"].inputs == {"a": Link("2", 0), "b": ["2", 0], "c": {"d": 1}, "e": Link("2", 1)}


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ([1, 0], '["1", 0]'),
        ([512, 768], '{"__value__": [512, 768]}'),
        (["1", 2.0], '["1", 2]'),
        (["1", "2"], 'without quotes: ["1", 2]'),
        (["1", -1], "counted from 0"),
        (["1", True], '["1", 1]'),
        (["1", None], '{"__value__": ["1", null]}'),
        (["1", 1.5], '{"__value__": ["1", 1.5]}'),
        (["1"], '["1", 0]'),
        ([], '{"__value__": []}'),
        (["a", "b", "c"], '{"__value__": ["a", "b", "c"]}'),
        ([True, 0], '{"__value__": [true, 0]}'),
    ],
)
def test_a_bad_link_says_what_to_write(value: list[Any], hint: str) -> None:
    workflow = read_workflow({"6": node({"model": value, "seed": 1}, _meta={"title": "Sampler"})})
    (found,) = workflow.diagnostics
    assert (found.code, found.node, found.title, found.class_type) == ("bad_linked_input", "6", "Sampler", "KSampler")
    assert (found.input, found.pointer, found.received) == ("model", "/6/inputs/model", shown(value))
    assert found.hint is not None
    assert hint in found.hint
    assert workflow.nodes["6"].inputs == {"seed": 1}
    assert workflow.faulty == {("6", "model")}


@pytest.mark.parametrize(
    ("raw", "code", "pointer", "severity"),
    [
        (5, "invalid_node", "/a~1b", "error"),
        ({"inputs": {}}, "missing_node_type", "/a~1b", "error"),
        ({"class_type": 5, "inputs": {}}, "missing_node_type", "/a~1b/class_type", "error"),
        ({"class_type": "A", "inputs": None}, "invalid_inputs", "/a~1b/inputs", "error"),
        ({"class_type": "A"}, "missing_inputs", "/a~1b", "warning"),
        (node(_meta=[]), "invalid_meta", "/a~1b/_meta", "warning"),
        (node(_meta={"title": 5}), "invalid_meta", "/a~1b/_meta", "warning"),
    ],
)
def test_malformed_nodes(raw: Any, code: str, pointer: str, severity: str) -> None:
    text = json.dumps({"prompt": {"1": node(), "a/b": raw}}, indent=1)
    workflow = read_workflow(text.encode())
    wrapped, found = workflow.diagnostics
    assert wrapped.lossy
    assert (found.code, found.pointer, found.severity) == (code, f"/prompt{pointer}", severity)
    assert found.line is not None
    assert (workflow.broken == {"a/b"}) is (severity == "error")
    assert "1" in workflow.nodes


def test_all_faults_of_a_file_come_at_once_in_its_order() -> None:
    text = """{
    "1": {"inputs": {"a": NaN, "b": [1, 0]}},
    "2": {"class_type": "A", "inputs": {"x": 1, "x": 2, "y": ["1", NaN], "z": 1e999}},
    "3": {"class_type": NaN, "inputs": NaN},
    "2": {"class_type": "B", "inputs": {"y": ["1", 0], "y": ["1", -1]}, "inputs": {"k": 1}}
    }"""
    workflow = read_workflow(text.encode())
    assert places(workflow.diagnostics) == [
        ("missing_node_type", "1", "class_type", 2),
        ("not_finite_number", "1", "a", 2),
        ("duplicate_key", "2", "x", 3),
        ("not_finite_number", "2", "y", 3),
        ("not_finite_number", "2", "z", 3),
        ("not_finite_number", "3", "class_type", 4),
        ("not_finite_number", "3", "inputs", 4),
        ("duplicate_key", "2", None, 5),
        ("duplicate_key", "2", "y", 5),
        ("duplicate_key", "2", "inputs", 5),
    ]
    assert workflow.nodes == {"2": WorkflowNode("2", "B", {"k": 1})}
    assert workflow.broken == {"1", "3"}
    assert {("2", "x"), ("2", "y"), ("1", "a")} <= workflow.faulty


def test_a_fault_inside_a_value_leaves_the_input_out() -> None:
    workflow = read_workflow(b'{"1": {"class_type": "A", "inputs": {"x": {"y": [1, NaN]}, "z": 1}}}')
    assert workflow.nodes["1"].inputs == {"z": 1}
    assert workflow.faulty == {("1", "x")}
    assert workflow.diagnostics[0].pointer == "/1/inputs/x/y/1"


def test_faults_outside_the_nodes_name_none() -> None:
    text = b'{"prompt": {"1": {"class_type": "A", "inputs": {}}}, "extra_data": {"x": NaN}}'
    found = read_workflow(text).diagnostics
    assert [(d.code, d.node, d.pointer) for d in found] == [
        ("wrapped_prompt", None, ""),
        ("not_finite_number", None, "/extra_data/x"),
    ]
    assert [(d.code, d.node) for d in refused(b'{"a": NaN}')] == [("not_a_workflow", None), ("not_finite_number", None)]


def test_a_wrapped_prompt_brings_its_extra_data() -> None:
    ui: dict[str, Any] = {"nodes": [], "links": []}
    workflow = read_workflow({"prompt": SOUND, "extra_data": {"extra_pnginfo": {"workflow": ui}}})
    assert (workflow.pointer, workflow.prompt) == ("/prompt", SOUND)
    assert workflow.extra_pnginfo == {"workflow": ui}
    assert read_workflow({"prompt": node(), "1": node()}).pointer == ""
    assert read_workflow({"prompt": {}}).nodes == {}


@pytest.mark.parametrize("text", [b"[]", b"5", b'"x"', b"null", b"true", b'{"1": 5}', b'{"prompt": {"a": 1}}'])
def test_other_json_is_no_workflow(text: bytes) -> None:
    assert refused(text)[-1].code == "not_a_workflow"


def test_ui_format_is_told_inside_a_wrapper_too() -> None:
    found = refused({"prompt": {"nodes": [], "links": []}})[-1]
    assert (found.code, found.pointer) == ("ui_format", "/prompt")
    assert "Export (API)" in (found.hint or "")


def test_a_syntax_error_names_the_place_in_words_and_comes_with_earlier_faults() -> None:
    found = refused(b'{"prompt": {"6": {"class_type": "KSampler", "inputs": {"a": NaN, "seed": 4 2}}}}')
    assert [(d.code, d.node, d.class_type, d.input) for d in found] == [
        ("wrapped_prompt", None, None, None),
        ("not_finite_number", "6", "KSampler", "a"),
        ("invalid_json", "6", "KSampler", "seed"),
    ]
    assert found[-1].message.endswith("(line 1, column 76), in node 6 (KSampler) at its input seed")


def test_bytes_that_are_no_utf8_are_placed() -> None:
    text = '{"3": {"class_type": "CLIPTextEncode",\n "inputs": {"text": "Straße"}}}'
    (found,) = refused(text.encode("latin-1"))
    assert (found.code, found.node, found.class_type) == ("not_utf8", "3", "CLIPTextEncode")
    assert (found.line, found.column, found.received) == (2, 26, "0xdf")


def test_an_override_takes_the_place_of_what_was_there() -> None:
    before = read_workflow(big.read("b26"))
    after = before.with_inputs({("6", "cfg"): 7.0, ("6", "seed"): Link("5", 0), ("5", "width"): [1, 2]})
    assert after.nodes["6"].inputs["cfg"] == 7.0
    assert after.prompt["6"]["inputs"]["seed"] == ["5", 0]
    assert after.prompt["5"]["inputs"]["width"] == {"__value__": [1, 2]}
    assert (after.diagnostics, after.faulty) == ((), frozenset())
    assert "cfg" not in before.nodes["6"].inputs
    assert before.prompt["6"]["inputs"]["seed"] == 42
    assert read_workflow(after.prompt).nodes == after.nodes


def test_an_override_leaves_out_the_workflow_of_an_editor_which_says_the_old_value() -> None:
    prompt = {"1": {"class_type": "A", "inputs": {"x": 1}}}
    extra: dict[str, Any] = {"workflow": {"nodes": []}, "other": 5}
    workflow = read_workflow({"prompt": prompt, "extra_data": {"extra_pnginfo": extra}})
    assert workflow.with_inputs({("1", "x"): 2}).extra_pnginfo == {"other": 5}
    assert workflow.with_inputs({("1", "x"): 1}).extra_pnginfo == workflow.extra_pnginfo == extra


def test_an_override_makes_the_inputs_that_a_node_lacks() -> None:
    workflow = read_workflow({"1": {"class_type": "A"}}).with_inputs({("1", "x"): 1})
    assert workflow.prompt == {"1": {"class_type": "A", "inputs": {"x": 1}}}


def test_an_override_of_a_node_that_is_not_there_names_it() -> None:
    workflow = read_workflow({"1": {"class_type": "A"}})
    with pytest.raises(WorkflowError) as caught:
        workflow.with_inputs({("3", "x"): 1, ("1", "x"): 1, ("2", "x"): 1})
    assert [(found.code, found.received) for found in caught.value.diagnostics] == [
        ("unknown_node", "2"),
        ("unknown_node", "3"),
    ]


def test_a_workflow_is_read_once() -> None:
    workflow = read_workflow(SOUND)
    assert read_workflow(workflow) is workflow
    assert read_workflow(workflow, name="a.json").source == "a.json"
    assert workflow.locate("/1") is None
    assert Workflow({}).prompt == {}


def test_many_faults_take_linear_time() -> None:
    def seconds(count: int) -> float:
        """The least of three runs, without collections of the garbage that other tests left."""
        made = {str(i): node({"model": [str(i - 1), 0.0]}) for i in range(count)}
        text = json.dumps(made, indent=1).encode()
        return min(timed(text, count) for _ in range(3))

    def timed(text: bytes, count: int) -> float:
        gc.collect()
        gc.disable()
        try:
            start = time.process_time()
            assert len(read_workflow(text).diagnostics) == count
            return time.process_time() - start
        finally:
            gc.enable()

    assert seconds(8_000) < 40 * max(seconds(500), 0.01)


def test_a_chain_of_100_000_nodes() -> None:
    links = (f'"{i}": {{"class_type": "A", "inputs": {{"x": ["{i - 1}", 0]}}}}' for i in range(100_000))
    workflow = read_workflow(f"{{{', '.join(links)}}}".encode())
    assert len(workflow.nodes) == 100_000
    assert workflow.locate("/99999/inputs/x/1") is not None
