"""JSON Schemas (2020-12) of workflows, nodes and diagnostics, made from the nodes' signatures, and their files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from graphexec.node.registry import Registry
from graphexec.node.spec import NodeSpec
from graphexec.node.views import LINK, input_schema

__all__ = ["build_schemas", "stale_schemas", "write_schemas"]

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MADE = "Made by `graphexec schema`; changes are lost."
SUFFIX = ".schema.json"
LONGEST_NAME = 80
META: Json = {
    "type": "object",
    "description": "For people; it decides nothing.",
    "properties": {"title": {"type": "string", "description": "what an editor calls the node"}},
}


def build_schemas(registry: Registry) -> dict[str, Json]:
    """File name, with `/`, -> schema: the API format, the inputs of every node, whole workflows, diagnostics."""
    schemas = {f"nodes/{_file_name(name)}{SUFFIX}": _node_schema(registry[name]) for name in registry}
    schemas["api" + SUFFIX] = _api_schema()
    schemas["workflow" + SUFFIX] = _workflow_schema(registry)
    schemas["diagnostics" + SUFFIX] = _diagnostics_schema()
    return {name: _document(name, schemas[name]) for name in sorted(schemas)}


def write_schemas(registry: Registry, directory: Path) -> list[Path]:
    """Write the schema files into `directory`, take away those of nodes that are no more; returns what is there."""
    written: list[Path] = []
    for name, text in _files(registry):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        written.append(path)
    for path in _made_before(directory):
        if path not in written:
            path.unlink()
    return written


def stale_schemas(registry: Registry, directory: Path) -> list[Path]:
    """Files that `write_schemas` would write otherwise, add or take away."""
    wanted = {directory / name: text for name, text in _files(registry)}
    stale = [path for path, text in wanted.items() if _text(path) != text]
    return sorted([*stale, *(path for path in _made_before(directory) if path not in wanted)])


def _files(registry: Registry) -> Iterator[tuple[str, str]]:
    for name, schema in build_schemas(registry).items():
        yield name, json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _text(path: Path) -> str | None:
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else None


def _made_before(directory: Path) -> list[Path]:
    """Schema files of ours; what somebody else put there is none of our business."""
    found = [*directory.glob(f"*{SUFFIX}"), *directory.glob(f"nodes/*{SUFFIX}")]
    return [path for path in found if f'"$comment": {json.dumps(MADE)}' in (_text(path) or "")]


def _file_name(name: str) -> str:
    """The node's name where every file system takes it, or else what is left of it and a digest."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:LONGEST_NAME]
    return name if name and plain == name else f"{plain}.{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _document(name: str, schema: Json) -> Json:
    return {"$schema": DIALECT, "$id": name.rpartition("/")[2], "$comment": MADE, **schema}


def _node_schema(spec: NodeSpec) -> Json:
    return {
        "title": f"Inputs of {spec.name}",
        "description": spec.description or f"The inputs of the node {spec.name}.",
        **input_schema(spec),
    }


def _api_schema() -> Json:
    value = {"type": ["string", "number", "boolean", "object", "null"]}
    inputs = {"type": "object", "additionalProperties": {"anyOf": [value, {"$ref": "#/$defs/link"}]}}
    return {
        "title": "ComfyUI workflow, API format",
        "description": "Nodes by id: class_type, and inputs that are values or links. Which nodes there are is open.",
        **_nodes(),
        "$defs": {"link": LINK, "node": _node({"type": "string"}, inputs)},
    }


def _workflow_schema(registry: Registry) -> Json:
    names = {name: f"inputs.{_file_name(name)}" for name in registry}
    return {
        "title": "Workflow for graphexec",
        "description": "A workflow in the API format, of the nodes that are installed.",
        **_nodes(),
        "$defs": {
            "link": LINK,
            "node": {
                **_node({"enum": list(names)}, {"type": "object"}),
                "allOf": [_case(name, defined) for name, defined in names.items()],
            },
            **{defined: _defined(registry[name], defined) for name, defined in names.items()},
        },
    }


def _nodes() -> Json:
    return {"type": "object", "additionalProperties": {"$ref": "#/$defs/node"}, "minProperties": 1}


def _node(class_type: Json, inputs: Json) -> Json:
    return {
        "type": "object",
        "properties": {
            "class_type": {"description": "which node it is", **class_type},
            "inputs": {"description": "values and links by the name of the input", **inputs},
            "_meta": META,
        },
        "required": ["class_type", "inputs"],
    }


def _case(name: str, defined: str) -> Json:
    """Of a node of this class the inputs are these."""
    return {
        "if": {"properties": {"class_type": {"const": name}}, "required": ["class_type"]},
        "then": {"properties": {"inputs": {"$ref": f"#/$defs/{quote(defined)}"}}},
    }


def _defined(spec: NodeSpec, name: str) -> Json:
    described = {"title": spec.display_name, **({"description": spec.description} if spec.description else {})}
    return {**described, **input_schema(spec, at=f"#/$defs/{quote(name)}")}


def _diagnostics_schema() -> Json:
    return {
        "title": "What `graphexec validate --format json` prints",
        "description": "Every file that was checked, and everything that was found in it; or what stopped the check.",
        "type": "object",
        "properties": {
            "status": {"enum": ["done", "invalid", "missing", "failed", "interrupted", "terminated"]},
            "files": {"type": "array", "items": {"$ref": "#/$defs/file"}},
            "error": {"type": ["string", "null"], "description": "what stopped the check; null if it was interrupted"},
        },
        "required": ["status"],
        "oneOf": [{"required": ["files"]}, {"required": ["error"]}],
        "$defs": {"file": _file(), "diagnostic": _diagnostic()},
    }


def _file() -> Json:
    return {
        "type": "object",
        "properties": {
            "file": {"type": "string", "description": "as it was named on the command line; - is standard input"},
            "ok": {"type": "boolean", "description": "whether it could run: it has no error"},
            "diagnostics": {"type": "array", "items": {"$ref": "#/$defs/diagnostic"}},
        },
        "required": ["file", "ok", "diagnostics"],
    }


def _diagnostic() -> Json:
    text, count = ["string", "null"], {"type": ["integer", "null"], "minimum": 1}
    contract: Json = {
        "severity": {"enum": ["error", "warning"]},
        "code": {"type": "string", "description": "what kind of fault; ComfyUI's own `type` where it has one"},
        "node": {"type": text, "description": "id of the node"},
        "input": {"type": text, "description": "name of the input"},
        "pointer": {"type": "string", "description": "JSON pointer (RFC 6901) into the file", "pattern": "^(/.*)?$"},
        "message": {"type": "string", "description": "what is wrong"},
        "hint": {"type": text, "description": "what to do"},
    }
    more: Json = {
        "title": {"type": text, "description": "title of the node"},
        "class_type": {"type": text, "description": "class of the node"},
        "expected": {"type": text},
        "received": {"type": text},
        "line": {**count, "description": "from 1"},
        "column": {**count, "description": "from 1"},
        "source": {"type": text, "description": "the file in which it is, where that is not the workflow's"},
    }
    return {"type": "object", "properties": {**contract, **more}, "required": list(contract)}
