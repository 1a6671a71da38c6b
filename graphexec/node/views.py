"""What others see of a node: JSON Schema of its inputs, and ComfyUI's `/object_info`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from graphexec.node.fields import Widget
from graphexec.node.spec import InputSpec, NodeSpec

__all__ = ["LINK", "input_schema", "no_names", "object_info"]

Json = dict[str, Any]

LINK: Json = {
    "title": "link",
    "description": "The value comes from another node: its id, and the number of the output from 0.",
    "type": "array",
    "prefixItems": [
        {"type": "string", "description": "id of the node"},
        {"type": "integer", "minimum": 0, "description": "number of the output"},
    ],
    "minItems": 2,
    "maxItems": 2,
}

ANY_VALUE = ("string", "number", "boolean", "object", "null")
"""What an input of any type takes: a list would be a link, so it is written {"__value__": […]}."""

JSON_TYPES: Mapping[str, str] = {"INT": "integer", "FLOAT": "number", "STRING": "string", "BOOLEAN": "boolean"}
"""What each type takes without a warning; 1.0 is an integer in JSON Schema, as it is for the checker."""


def input_schema(spec: NodeSpec, at: str = "#") -> Json:
    """JSON Schema (2020-12) of a node's `inputs`: it takes what a check accepts without a word.

    Args:
        spec: the node.
        at: where the schema will stand, as a URI fragment; other than "#" the document around it defines
            `#/$defs/link` as `LINK`.
    """
    schema: Json = {
        "type": "object",
        "properties": {
            given.name: _property(given, f"{at}/properties/{quote(given.name)}", given.name in spec.checked_inputs)
            for given in spec.inputs.values()
        },
        "required": [given.name for given in spec.inputs.values() if not given.optional],
        "additionalProperties": False,
    }
    return {**schema, "$defs": {"link": LINK}} if at == "#" else schema


def _property(given: InputSpec, at: str, free: bool) -> Json:
    """A literal, the same literal inside `__value__`, or a link."""
    shown = {"title": given.wire, "description": given.tooltip or given.expectation()}
    if given.has_default and given.default is not None:
        shown["default"] = _plain(given.default)
    link = {"$ref": "#/$defs/link"}
    literal = _literal(given, free)
    if literal is None:
        return {**shown, **link}
    if "object" in literal.get("type", ()):
        return {**shown, "anyOf": [literal, link]}
    wrapped = {"type": "object", "properties": {"__value__": {"$ref": f"{at}/anyOf/0"}}, "required": ["__value__"]}
    return {**shown, "anyOf": [literal, wrapped, link]}


def _literal(given: InputSpec, free: bool) -> Json | None:
    """The values that may be written; None if only a link will do. `free` leaves the range to the node's own check."""
    if given.wire == "*" or (free and given.choices is not None):
        return {"type": list(ANY_VALUE), **({"examples": list(given.choices)} if given.choices else {})}
    if given.choices is not None:
        return {"enum": [*given.choices, *([None] if given.optional else [])]}
    named = ["string"] if given.folder else [JSON_TYPES[part] for part in _parts(given.wire) if part in JSON_TYPES]
    kinds = [*named, *(["null"] if given.optional else [])]
    if not kinds:
        return None
    literal: Json = {"type": kinds[0] if len(kinds) == 1 else kinds}
    return literal if free else {**literal, **_range(given, "minimum", "maximum")}


def _parts(wire: str) -> list[str]:
    return [part.strip() for part in wire.split(",")]


def _range(given: InputSpec, low: str, high: str) -> Json:
    bounds = ((low, given.minimum), (high, given.maximum))
    return {name: value for name, value in bounds if value is not None}


def _plain(value: Any) -> Any:
    return value.as_posix() if isinstance(value, Path) else value


def no_names(kind: str) -> Sequence[str]:
    """Of a models folder that is not looked into."""
    return ()


def object_info(spec: NodeSpec, names: Callable[[str], Sequence[str]] = no_names) -> Json:
    """A node as ComfyUI's `/object_info` shows it; `names` lists the files of a models folder."""
    groups: dict[str, Json] = {"required": {}}
    for given in spec.inputs.values():
        group = groups.setdefault("optional" if given.optional else "required", {})
        group[given.name] = [_kind(given, names), _options(given)]
    if hidden := _hidden(spec):
        groups["hidden"] = hidden
    return {
        "input": groups,
        "input_order": {group: list(inputs) for group, inputs in groups.items()},
        "output": [output.wire for output in spec.outputs],
        "output_is_list": [output.is_list for output in spec.outputs],
        "output_name": [output.name for output in spec.outputs],
        "name": spec.name,
        "display_name": spec.display_name,
        "description": spec.description,
        "python_module": spec.module,
        "category": spec.category,
        "output_node": spec.is_output,
    }


def _kind(given: InputSpec, names: Callable[[str], Sequence[str]]) -> str | list[Any]:
    if given.folder is not None:
        return [*names(given.folder.kind), *given.folder.choices]
    return list(given.choices) if given.choices is not None else given.wire


def _options(given: InputSpec) -> Json:
    default: Json = {"default": _plain(given.default)} if given.has_default and given.default is not None else {}
    lazy: Json = {"lazy": True} if given.lazy else {}
    tooltip: Json = {"tooltip": given.tooltip} if given.tooltip else {}
    return {**default, **_range(given, "min", "max"), **_look(given.look), **lazy, **tooltip}


def _look(look: Widget) -> Json:
    options: Json = {
        "step": look.step,
        "round": look.round,
        "multiline": look.multiline or None,
        "placeholder": look.placeholder,
        "dynamicPrompts": look.dynamic_prompts or None,
        "control_after_generate": look.control_after_generate or None,
    }
    return {name: value for name, value in options.items() if value is not None}


def _hidden(spec: NodeSpec) -> Json:
    hidden: Json = {}
    kinds = {supplied.kind for supplied in spec.hidden.values()}
    if "node_id" in kinds:
        hidden["unique_id"] = "UNIQUE_ID"
    if "workflow" in kinds:
        hidden |= {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
    return hidden
