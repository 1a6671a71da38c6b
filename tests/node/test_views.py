"""What others see of a node: JSON Schema of its inputs, and ComfyUI's `/object_info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pytest
from pydantic import Field
from validating import validator

from graphexec.node.decorator import node
from graphexec.node.fields import (
    Artifacts,
    FilenamePrefix,
    Folder,
    Lazy,
    NodeId,
    Progress,
    Seed,
    Strength,
    Text,
    Widget,
    WorkflowInfo,
)
from graphexec.node.spec import NodeSpec
from graphexec.node.views import input_schema, object_info
from node.nodes import read, taking

T = TypeVar("T")
LINK = ["7", 0]


class Apple:
    """A socket type."""


def takes(spec: NodeSpec, value: Any) -> bool:
    return validator(input_schema(spec)).is_valid({"x": value})


class TestInputSchema:
    LITERALS: tuple[tuple[Any, list[Any], list[Any]], ...] = (
        (int, [0, -3, 2**64, 4.0], [0.5, "5", True, None, {}, [1]]),
        (Annotated[int, Field(ge=0, le=9)], [0, 9], [-1, 10]),
        (float, [0, 1.5, -3], ["1.5", False, None]),
        (Strength, [-100, 100.0], [-100.5, 101]),
        (str, ["", "text"], [5, None, True]),
        (bool, [True, False], [0, 1, "true", None]),
        (Literal["a", "b"], ["a", "b"], ["c", "A", None, 1]),
        (Literal[1, 2], [1, 2.0], [3, "1", True]),
        (int | str, [1, "1"], [1.5, True]),
        (int | float, [1, 1.5], ["1"]),
        (int | Apple, [1], ["1"]),
        (Annotated[Path, Folder("loras")], ["a.safetensors", "sub/a.safetensors"], [1, None]),
        (Apple, [], [1, "a", None, {}]),
        (Any, [1, "a", None, True, {"a": [1]}], [[1], []]),
        (T, [1, "a", None], [["a"]]),
        (Lazy[int], [1], ["1"]),
        (list[int], [1], [[1, 2]]),
        (int | None, [1, None], ["1"]),
        (Apple | None, [None], [1]),
        (Literal["a"] | None, ["a", None], ["b"]),
    )

    @pytest.mark.parametrize(("annotation", "good", "bad"), LITERALS)
    def test_literals(self, annotation: Any, good: list[Any], bad: list[Any]) -> None:
        spec = taking(annotation)
        assert [value for value in good if not takes(spec, value)] == []
        assert [value for value in bad if takes(spec, value)] == []
        assert [value for value in good if not takes(spec, {"__value__": value})] == []
        assert takes(spec, LINK)

    @pytest.mark.parametrize("link", [[], ["7"], ["7", 0, 0], [7, 0], ["7", "0"], ["7", -1], ["7", 0.5], ["7", None]])
    def test_malformed_links(self, link: list[Any]) -> None:
        assert not takes(taking(Any), link)

    def test_a_list_of_values(self) -> None:
        assert takes(taking(Any), {"__value__": [1, 2]})
        assert not takes(taking(int), {"__value__": [1, 2]})
        assert not takes(taking(int), {"__value__": {"__value__": 1}})

    def test_what_is_required_and_what_is_not_declared(self) -> None:
        @node("N")
        def run(a: int, b: int = 3, c: int | None = None) -> int:
            raise NotImplementedError

        validates = validator(input_schema(read(run)))
        assert validates.is_valid({"a": 1, "b": 2})
        assert not validates.is_valid({"a": 1})
        assert not validates.is_valid({"a": 1, "b": 2, "d": 3})

    def test_words_for_people(self) -> None:
        @node("N")
        def run(a: Strength = 0.5, b: Apple | None = None, c: Annotated[Path, Folder("vae")] = Path("x/y")) -> int:
            """A node.

            Args:
                a: how strongly.
            """
            raise NotImplementedError

        shown = input_schema(read(run))["properties"]
        assert (shown["a"]["title"], shown["a"]["description"], shown["a"]["default"]) == (
            "FLOAT",
            "how strongly.",
            0.5,
        )
        assert (shown["b"]["description"], shown["c"]["default"]) == ("a link to an output of type APPLE", "x/y")
        assert "default" not in shown["b"]

    def test_the_nodes_own_check_takes_over_the_range_and_the_choices(self) -> None:
        def check(x: Any) -> bool:
            raise NotImplementedError

        assert takes(taking(Annotated[int, Field(ge=0, le=9)], check=check), 10)
        assert not takes(taking(Annotated[int, Field(ge=0, le=9)], check=check), "10")
        assert takes(taking(Literal["a", "b"], check=check), 5)

    def test_it_may_stand_inside_a_document(self) -> None:
        schema: dict[str, Any] = {"$ref": "#/$defs/n", "$defs": {"n": input_schema(taking(int), "#/$defs/n")}}
        schema["$defs"]["link"] = input_schema(taking(int))["$defs"]["link"]
        validates = validator(schema)
        assert all(validates.is_valid({"x": value}) for value in (1, {"__value__": 1}, LINK))
        assert not validates.is_valid({"x": {"__value__": "1"}})

    def test_names_that_are_not_ascii(self) -> None:
        @node("N")
        def run(größe: int) -> int:  # noqa: PLC2401
            raise NotImplementedError

        assert validator(input_schema(read(run))).is_valid({"größe": {"__value__": 1}})


def names(kind: str) -> list[str]:
    return {"loras": ["a.safetensors", "b/c.safetensors"]}.get(kind, [])


@node("Everything", category="a/b", display_name="All of It")
def everything(
    me: NodeId,
    apples: list[Apple],
    seed: Seed = 0,
    *,
    text: Text,
    prefix: FilenamePrefix = "out",
    mode: Literal["x", "y"] = "y",
    lora: Annotated[Path, Folder("loras", ("none",))],
    branch: Lazy[T],
    note: Annotated[str, Widget(placeholder="say")] | None = None,
    amount: Annotated[float, Field(ge=0, le=1), Widget(step=0.5, round=0.01)] | None = 0.5,
    workflow: WorkflowInfo,
    progress: Progress,
) -> tuple[list[Apple], T, Artifacts]:
    """Has every kind of input.

    It does nothing with them.

    Args:
        text: what to say.
    """
    raise NotImplementedError


class TestObjectInfo:
    def test_everything(self) -> None:
        shown = object_info(read(everything), names)
        assert shown["input"] == {
            "required": {
                "apples": ["APPLE", {}],
                "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}],
                "text": ["STRING", {"multiline": True, "dynamicPrompts": True, "tooltip": "what to say."}],
                "prefix": ["STRING", {"default": "out"}],
                "mode": [["x", "y"], {"default": "y"}],
                "lora": [["a.safetensors", "b/c.safetensors", "none"], {}],
                "branch": ["*", {"lazy": True}],
            },
            "optional": {
                "note": ["STRING", {"placeholder": "say"}],
                "amount": ["FLOAT", {"default": 0.5, "min": 0, "max": 1, "step": 0.5, "round": 0.01}],
            },
            "hidden": {"unique_id": "UNIQUE_ID", "prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }
        assert shown["input_order"] == {group: list(inputs) for group, inputs in shown["input"].items()}
        assert (shown["output"], shown["output_is_list"]) == (["APPLE", "*"], [True, False])
        assert (shown["output_name"], shown["output_node"]) == (["APPLE", "*"], True)
        assert (shown["name"], shown["display_name"], shown["category"]) == ("Everything", "All of It", "a/b")
        assert (shown["description"], shown["python_module"]) == ("Has every kind of input.", __name__)
        json.dumps(shown)

    def test_folders_are_not_looked_into_unless_asked(self) -> None:
        assert object_info(taking(Annotated[Path, Folder("loras")]))["input"]["required"]["x"] == [[], {}]

    def test_what_is_not_rounded_says_so(self) -> None:
        shown = object_info(taking(Annotated[float, Widget(step=0.1, round=False)]))
        assert shown["input"]["required"]["x"] == ["FLOAT", {"step": 0.1, "round": False}]
