"""The published schemas: they agree with the checker, hold for foreign files, and are never stale unnoticed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import Field
from running import NOWHERE, REGISTRY
from validating import validator

from graphexec.cli.diagnostics import JSON_FIELDS, MORE_JSON_FIELDS
from graphexec.cli.validate import as_json
from graphexec.graph.compile import check
from graphexec.graph.schemas import build_schemas, stale_schemas, write_schemas
from graphexec.node.decorator import node
from graphexec.node.fields import Artifacts
from graphexec.node.registry import Registry

TEMPLATES = sorted((Path(__file__).parents[1] / "data/templates").glob("*.json"))
WORKFLOWS = sorted((Path(__file__).parents[2] / "workflows").glob("*.json"))


class Apple:
    """A socket type."""


@node("Source")
def source() -> tuple[int, float, str, bool, Apple]:
    """One of each."""
    raise NotImplementedError


def anything(free: int) -> bool:
    return True


@node("Sink", check=anything)
def sink(
    *,
    count: Annotated[int, Field(ge=-5, le=20)],
    amount: Annotated[float, Field(ge=0, le=1)],
    text: str,
    flag: bool,
    mode: Literal["a", "b"],
    level: Literal[1, 2],
    number: int | float,
    mixed: int | str,
    whole: list[int],
    free: Annotated[int, Field(ge=0, le=1)],
    whatever: Any,
    apple: Apple,
    default: int = 3,
    maybe: Annotated[int, Field(le=9)] | None = None,
    fruit: Apple | None = None,
    other: Literal["x"] | None = None,
) -> Artifacts:
    """Takes one of each."""
    raise NotImplementedError


SLOTS = {"amount": 1, "text": 2, "mixed": 2, "flag": 3, "apple": 4, "fruit": 4}
"""The output of `Source` that fits an input; 0 for the others."""
NO_OUTPUT_FITS = ("mode", "other", "level")

PACK = ModuleType("pack")
vars(PACK).update(source=source, sink=sink)
FAKES = Registry().with_nodes(PACK)
INPUTS = list(FAKES["Sink"].inputs)
WORKFLOW = validator(build_schemas(FAKES)["workflow.schema.json"])

numbers = st.integers(-30, 30) | st.floats(-30, 30) | st.integers(-30, 30).map(float)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=3) | st.sampled_from(["a", "b", "x", "3", "true"])
literals = scalars | st.dictionaries(st.text(max_size=2), scalars, max_size=2) | st.just(2**70)
lists = st.lists(scalars, max_size=3)
malformed = lists.filter(lambda items: [type(item) for item in items] not in ([str, int], [str, float]))
ABSENT = object()


def written(name: str) -> st.SearchStrategy[Any]:
    """What a file may say of an input; links lead to outputs that fit, for the rest is no matter of a schema."""
    wrapped = (literals | lists).map(lambda value: {"__value__": value})
    links = st.just(["source", SLOTS.get(name, 0)])
    kinds = [st.just(ABSENT), literals, wrapped, malformed]
    return st.one_of(*kinds, *([] if name in NO_OUTPUT_FITS else [links]))


inputs = st.fixed_dictionaries({name: written(name) for name in INPUTS} | {"undeclared": st.just(ABSENT) | literals})


def objections(document: dict[str, Any]) -> set[str]:
    """Inputs of the sink that the schema does not like."""
    return {name for error in WORKFLOW.iter_errors(document) for name in _inputs_of(error)}


def _inputs_of(error: Any) -> Iterator[str]:
    assert list(error.absolute_path)[:2] == ["sink", "inputs"]
    if error.validator == "required":
        yield from set(error.validator_value) - set(error.instance)
    elif error.validator == "additionalProperties":
        yield from set(error.instance) - set(INPUTS)
    else:
        yield str(error.absolute_path[2])


@settings(max_examples=250)
@given(inputs)
def test_schema_and_checker_agree(values: dict[str, Any]) -> None:
    given = {name: value for name, value in values.items() if value is not ABSENT}
    document: dict[str, Any] = {
        "source": {"class_type": "Source", "inputs": {}},
        "sink": {"class_type": "Sink", "inputs": given},
    }
    found = check(document, registry=FAKES, folders=NOWHERE).diagnostics
    assert objections(document) == {d.input for d in found if d.node == "sink"}


class TestWorkflow:
    def test_what_is_in_the_property_can_be_right_and_wrong(self) -> None:
        assert objections({"sink": {"class_type": "Sink", "inputs": {}}}) == set(INPUTS) - {"maybe", "fruit", "other"}

    @pytest.mark.parametrize(
        "document",
        [
            {},
            [],
            {"1": []},
            {"1": {"inputs": {}}},
            {"1": {"class_type": "Source"}},
            {"1": {"class_type": "source", "inputs": {}}},
            {"1": {"class_type": "Source", "inputs": []}},
            {"1": {"class_type": "Source", "inputs": {}, "_meta": {"title": 5}}},
        ],
    )
    def test_what_is_no_workflow(self, document: Any) -> None:
        assert not WORKFLOW.is_valid(document)

    def test_titles_and_what_editors_add(self) -> None:
        extra = {"_meta": {"title": "one"}, "is_changed": ["x"]}
        assert WORKFLOW.is_valid({"1": {"class_type": "Source", "inputs": {}, **extra}})

    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
    def test_the_examples(self, path: Path) -> None:
        schema = build_schemas(Registry.standard())["workflow.schema.json"]
        assert list(validator(schema).iter_errors(json.loads(path.read_text()))) == []


class TestApi:
    @pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
    def test_foreign_files(self, path: Path) -> None:
        validates = validator(build_schemas(FAKES)["api.schema.json"])
        document = json.loads(path.read_text())
        assert list(validates.iter_errors(document)) == []
        first = next(iter(document.values()))
        first["inputs"]["broken"] = [1, 0]
        assert not validates.is_valid(document)

    def test_there_are_foreign_files(self) -> None:
        assert len(TEMPLATES) == 17


BROKEN: dict[str, Any] = {
    "1": {"class_type": "Sink", "inputs": {"count": "x", "more": 1}, "_meta": {"title": "t"}},
    "2": {"class_type": "Sunk", "inputs": {}},
    "3": 5,
}


class TestDiagnostics:
    SCHEMA = build_schemas(FAKES)["diagnostics.schema.json"]

    def test_what_is_printed_fits(self) -> None:
        found = check(json.dumps(BROKEN).encode(), registry=FAKES, folders=NOWHERE).diagnostics
        files = as_json([("a.json", found), ("b.json", ())])
        validator(self.SCHEMA).validate({"status": "invalid", "files": files})
        assert [file["ok"] for file in files] == [False, True]

    def test_the_fields_are_those_that_are_printed(self) -> None:
        diagnostic = self.SCHEMA["$defs"]["diagnostic"]
        assert diagnostic["required"] == list(JSON_FIELDS)
        assert list(diagnostic["properties"]) == [*JSON_FIELDS, *MORE_JSON_FIELDS]

    @pytest.mark.parametrize("change", [{"severity": "fatal"}, {"pointer": "1/inputs"}, {"line": 0}, {"node": 1}])
    def test_what_does_not_fit(self, change: dict[str, Any]) -> None:
        (first, *_) = check(BROKEN, registry=FAKES, folders=NOWHERE).diagnostics
        document = {"files": [{"file": "a", "ok": False, "diagnostics": [{**asdict(first), **change}]}]}
        assert not validator(self.SCHEMA).is_valid(document)


def odd(name: str) -> Registry:
    """A registry of one node that is called so."""
    pack = ModuleType("odd")
    vars(pack)["run"] = node(name)(lambda_of())
    return Registry().with_nodes(pack)


def lambda_of() -> Any:
    def run(value: int) -> int:
        raise NotImplementedError

    return run


class TestFiles:
    @pytest.mark.parametrize("registry", [FAKES, REGISTRY, Registry.standard()], ids=["sinks", "fakes", "standard"])
    def test_every_schema_is_a_schema_and_says_what_it_is(self, registry: Registry) -> None:
        for name, schema in build_schemas(registry).items():
            Draft202012Validator.check_schema(schema)
            assert list(schema)[:3] == ["$schema", "$id", "$comment"]
            assert name.endswith(schema["$id"])
            assert schema["title"] and schema["description"]

    def test_one_for_every_node(self) -> None:
        made = build_schemas(FAKES)
        assert list(made) == sorted(made)
        assert set(made) == {
            "api.schema.json",
            "diagnostics.schema.json",
            "nodes/Sink.schema.json",
            "nodes/Source.schema.json",
            "workflow.schema.json",
        }

    @pytest.mark.parametrize("name", ["a/../../b", "Power Lora (rgthree)", "", "x" * 300, "%41~1#", "größe", "C:\\"])
    def test_odd_names(self, name: str, tmp_path: Path) -> None:
        registry = odd(name)
        paths = write_schemas(registry, tmp_path / "schemas")
        assert {path.parent for path in paths} == {tmp_path / "schemas", tmp_path / "schemas/nodes"}
        validates = validator(build_schemas(registry)["workflow.schema.json"])
        document: dict[str, Any] = {"1": {"class_type": name, "inputs": {"value": {"__value__": 1}}}}
        assert validates.is_valid(document)
        document["1"]["inputs"] = {"value": {"__value__": "1"}}
        assert not validates.is_valid(document)

    def test_odd_names_do_not_meet(self) -> None:
        made = {name for other in ("a/b", "a_b", "a b") for name in build_schemas(odd(other)) if "nodes/" in name}
        assert len(made) == 3

    def test_writing_then_nothing_is_stale(self, tmp_path: Path) -> None:
        paths = write_schemas(FAKES, tmp_path / "schemas")
        assert stale_schemas(FAKES, tmp_path / "schemas") == []
        assert sorted(paths) == sorted((tmp_path / "schemas").rglob("*.json"))
        assert json.loads(paths[0].read_text(encoding="utf-8")) == build_schemas(FAKES)[paths[0].name]

    def test_missing_different_and_left_over(self, tmp_path: Path) -> None:
        assert len(stale_schemas(FAKES, tmp_path / "schemas")) == len(build_schemas(FAKES))
        write_schemas(FAKES, tmp_path)
        write_schemas(odd("Gone"), tmp_path / "other")
        gone = (tmp_path / "other/nodes/Gone.schema.json").rename(tmp_path / "nodes/Gone.schema.json")
        foreign = tmp_path / "nodes/mine.schema.json"
        foreign.write_text("{}")
        api, sink = tmp_path / "api.schema.json", tmp_path / "nodes/Sink.schema.json"
        api.write_text(api.read_text() + " ")
        sink.unlink()
        assert stale_schemas(FAKES, tmp_path) == sorted([api, sink, gone])
        write_schemas(FAKES, tmp_path)
        assert stale_schemas(FAKES, tmp_path) == []
        assert (gone.exists(), foreign.exists()) == (False, True)

    def test_they_are_the_same_in_every_process(self) -> None:
        program = (
            "import hashlib, json; from graphexec.graph.schemas import build_schemas; "
            "from graphexec.node.registry import Registry; "
            "print(hashlib.sha256(json.dumps(build_schemas(Registry.standard())).encode()).hexdigest())"
        )
        seen = {
            subprocess.run(
                [sys.executable, "-c", program], capture_output=True, check=True, env={"PYTHONHASHSEED": seed}
            ).stdout
            for seed in ("1", "2")
        }
        assert len(seen) == 1

    def test_making_them_imports_neither_torch_nor_jsonschema(self) -> None:
        program = (
            "import sys; sys.modules.update(torch=None, jsonschema=None); "
            "from graphexec.graph.schemas import build_schemas; from graphexec.node.registry import Registry; "
            "assert build_schemas(Registry.standard())"
        )
        subprocess.run([sys.executable, "-c", program], check=True)
