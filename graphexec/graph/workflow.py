"""A workflow file in ComfyUI's API format, read into nodes; whatever is wrong with its shape is a diagnostic.

A file is {id: {"class_type": …, "inputs": {name: value or [node id, slot]}, "_meta": {"title": …}}}. What node
classes, types and values there are is not known here: the compiler checks that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from graphexec.errors import Diagnostic, WorkflowError
from graphexec.graph.inmemory import copy_json
from graphexec.graph.pictures import picture_kind, workflow_in_picture
from graphexec.graph.scan import Fault, Loaded, join_pointer, load
from graphexec.graph.source import SourceText
from graphexec.graph.textfile import MAX_BYTES, limited, load_bytes, read_bytes
from graphexec.graph.ui import is_ui_format

__all__ = [
    "Link",
    "Workflow",
    "WorkflowNode",
    "input_json",
    "input_value",
    "link_hint",
    "read_workflow",
    "shown",
]

BAD_LINK = "Bad linked input, must be a length-2 list of [node_id, slot_index]"


@dataclass(frozen=True, slots=True)
class Link:
    """An input's value comes from output `slot` of the node `node`."""

    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class WorkflowNode:
    """A node of a workflow file: its inputs are `Link`s or plain JSON values."""

    id: str
    class_type: str
    inputs: dict[str, Any]
    title: str | None = None

    @property
    def pointer(self) -> str:
        """The JSON pointer of the node within the prompt."""
        return join_pointer([self.id])


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow as it was read; never changed, `with_inputs` makes another one."""

    nodes: dict[str, WorkflowNode]
    """In the order of the file."""
    source: str = "<workflow>"
    """The file as the user named it; "-" is standard input."""
    pointer: str = ""
    """Where the nodes are in the file: "", or "/prompt" in the payload of a POST /prompt."""
    broken: frozenset[str] = frozenset()
    """Ids of nodes that are too malformed to be in `nodes`."""
    prompt: dict[str, Any] = field(default_factory=dict[str, Any])
    """The nodes' JSON as it was read, for the metadata of pictures."""
    extra_pnginfo: dict[str, Any] = field(default_factory=dict[str, Any])
    """What else came for the metadata of pictures, such as "workflow"."""
    diagnostics: tuple[Diagnostic, ...] = ()
    """What reading found, in the order of the file."""
    faulty: frozenset[tuple[str, str]] = frozenset()
    """(node id, input) that the file has but that could not be read, and that `nodes` lack therefore."""
    text: SourceText | None = field(default=None, repr=False, compare=False)
    replaced: frozenset[tuple[str, str]] = frozenset()
    """(node id, input) whose values are others than those of the file: no line of it says them."""

    def with_inputs(self, changes: Mapping[tuple[str, str], Any]) -> Workflow:
        """The workflow with other values of some inputs, by (node id, input name); `prompt` follows.

        What reading found about an input that is replaced is gone, and so is an editor's own "workflow", which would
        say the old values. Raises WorkflowError (unknown_node) for nodes that are not there.
        """
        by_node = _by_node(changes)
        if missing := by_node.keys() - self.nodes.keys():
            raise WorkflowError(_unknown(node) for node in sorted(missing))
        nodes, prompt = dict(self.nodes), dict(self.prompt)
        for node, values in by_node.items():
            nodes[node] = replace(nodes[node], inputs={**nodes[node].inputs, **values})
            raw = cast("dict[str, Any]", prompt.get(node, {"class_type": nodes[node].class_type}))
            written = {name: input_json(value) for name, value in values.items()}
            prompt[node] = {**raw, "inputs": {**raw.get("inputs", {}), **written}}
        kept = {name: extra for name, extra in self.extra_pnginfo.items() if name != "workflow"}
        return replace(
            self,
            nodes=nodes,
            prompt=prompt,
            extra_pnginfo=self.extra_pnginfo if prompt == self.prompt else kept,
            faulty=self.faulty - changes.keys(),
            replaced=self.replaced | changes.keys(),
            diagnostics=tuple(d for d in self.diagnostics if (d.node, d.input) not in changes),
        )

    def locate(self, pointer: str) -> tuple[int, int] | None:
        """Line and column, from 1, of a JSON pointer (that of the whole file, so with "/prompt" where it is so)."""
        offset = None if self.text is None else self.text.find(pointer)
        return None if self.text is None or offset is None else self.text.position(offset)


def _by_node(changes: Mapping[tuple[str, str], Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for (node, name), value in changes.items():
        found.setdefault(node, {})[name] = value
    return found


def _unknown(node: str) -> Diagnostic:
    message = f"No node has the id {node!r}"
    return Diagnostic(code="unknown_node", message=message, expected="a node of the workflow", received=node)


def input_value(raw: Any) -> Any:
    """What a node gets for a value of the file: a `Link` for a list, the literal inside {"__value__": …}.

    Raises ValueError, with a hint as its text, for a list that is no link.
    """
    if type(raw) is list:
        items = cast("list[Any]", raw)
        if len(items) == 2 and type(items[0]) is str and type(items[1]) is int and items[1] >= 0:
            return Link(items[0], items[1])
        raise ValueError(link_hint(items))
    if type(raw) is dict:
        members = cast("dict[str, Any]", raw)
        return members.get("__value__", members)
    return raw


def input_json(value: Any) -> Any:
    """How a file says the value of an input; `input_value` takes it back."""
    if isinstance(value, Link):
        return [value.node, value.slot]
    members = _members(value)
    literal = isinstance(value, list) or (members is not None and "__value__" in members)
    return cast("Any", {"__value__": value} if literal else value)


def link_hint(value: Sequence[Any]) -> str:
    """What to write instead of a list that is no link."""
    literal = f'for a list of values write {{"__value__": {shown(value)}}}'
    if len(value) == 1 and isinstance(value[0], str):
        return f"for a link write {shown([value[0], 0])}; {literal}"
    if len(value) != 2:
        return literal
    node, slot = value
    if type(node) is int and type(slot) is int:
        return f"for a link write the node id in quotes: {shown([str(node), max(slot, 0)])}; {literal}"
    if not isinstance(node, str):
        return literal
    return _slot_hint(node, slot) or literal


def _slot_hint(node: str, slot: Any) -> str | None:
    if isinstance(slot, int) and slot < 0:
        return "outputs are counted from 0, there is no output before that"
    if isinstance(slot, int) or (isinstance(slot, float) and slot.is_integer() and slot >= 0):
        return f"write the slot as a whole number: {shown([node, int(slot)])}"
    if isinstance(slot, str) and slot.isdecimal():
        return f"write the slot without quotes: {shown([node, int(slot)])}"
    return None


def shown(value: Any, limit: int = 80) -> str:
    """A JSON value in one line of at most `limit` characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def read_workflow(
    source: str | Path | bytes | Mapping[Any, Any] | Workflow, *, name: str | None = None, max_bytes: int = MAX_BYTES
) -> Workflow:
    """Read a file ("-": standard input), the bytes of one, a picture made by ComfyUI, or JSON that is in memory.

    Faults that leave the other nodes readable are the result's `diagnostics`; raises WorkflowError where nothing
    can be read.
    """
    if isinstance(source, Workflow):
        return source if name is None else replace(source, source=name)
    if isinstance(source, Mapping):
        return _build(copy_json(source), name or "<workflow>")
    called = name or ("<workflow>" if isinstance(source, bytes) else str(source))
    data = limited(source, called, max_bytes) if isinstance(source, bytes) else read_bytes(source, max_bytes)
    if picture_kind(data):
        text, extra = workflow_in_picture(data, called)
        return _build(load(text), called, SourceText(text), extra=extra)
    document = load_bytes(data, called)
    return _build(document.loaded, called, document.text, notes=document.notes)


def _build(
    loaded: Loaded,
    name: str,
    text: SourceText | None = None,
    *,
    notes: Sequence[Diagnostic] = (),
    extra: dict[str, Any] | None = None,
) -> Workflow:
    pointer = "/prompt" if _is_wrapped(loaded.value) else ""
    prompt = loaded.value["prompt"] if pointer else loaded.value
    wrong = None if loaded.broken else _no_nodes(prompt, pointer)
    nodes = _Nodes(_members(prompt) if wrong is None and not is_ui_format(prompt) else None, pointer)
    found = [*notes, *([_wrapped(loaded.value)] if pointer else []), *([wrong] if wrong else [])]
    found += [nodes.fault(fault, text and text.position(fault.offset)) for fault in loaded.faults]
    if loaded.broken or wrong:
        raise WorkflowError(_in_order([_at(d, text) for d in found], nodes.prompt))
    nodes.read()
    found = _in_order([_at(d, text) for d in [*found, *nodes.found]], nodes.prompt)
    extra = _wrapped_extra(loaded.value) if extra is None and pointer else extra or {}
    return Workflow(
        nodes.nodes,
        name,
        pointer,
        frozenset(nodes.broken),
        nodes.prompt,
        extra,
        tuple(found),
        frozenset(nodes.faulty),
        text,
    )


def _members(value: Any) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _at(diagnostic: Diagnostic, text: SourceText | None) -> Diagnostic:
    if text is None or diagnostic.line is not None:
        return diagnostic
    place = text.find(diagnostic.pointer)
    if place is None:
        return diagnostic
    line, column = text.position(place)
    return replace(diagnostic, line=line, column=column)


def _in_order(found: list[Diagnostic], prompt: Mapping[str, Any]) -> list[Diagnostic]:
    order = {node: i for i, node in enumerate(prompt)} if found else {}
    return sorted(found, key=lambda d: (d.line or order.get(d.node or "", -1), d.column or 0))


def _looks_like_node(value: Any) -> bool:
    return isinstance(value, dict) and ("class_type" in value or "inputs" in value)


def _is_wrapped(document: Any) -> bool:
    members = _members(document) or {}
    return isinstance(members.get("prompt"), dict) and not any(map(_looks_like_node, members.values()))


def _wrapped(document: Mapping[str, Any]) -> Diagnostic:
    others = ", ".join(sorted(document.keys() - {"prompt"})[:5])
    return Diagnostic(
        code="wrapped_prompt",
        message='The workflow is inside "prompt", as ComfyUI\'s server receives it; what stands around it is not used',
        severity="warning",
        expected="the nodes at the top level",
        received=f"prompt beside {others}" if others else "prompt",
        hint='save only what "prompt" holds',
        lossy=True,
    )


def _wrapped_extra(document: Mapping[str, Any]) -> dict[str, Any]:
    data = _members(document.get("extra_data")) or {}
    return _members(data.get("extra_pnginfo")) or {}


def _no_nodes(prompt: Any, pointer: str) -> Diagnostic | None:
    """Why a document that should hold nodes holds none; an empty one is fine here."""
    if is_ui_format(prompt):
        return Diagnostic(
            code="ui_format",
            message="This is ComfyUI's UI format (nodes and links), which its editor saves; it is not what runs",
            pointer=pointer,
            expected="API format: node ids at the top level",
            received='"nodes" and "links"',
            hint=_EXPORT,
        )
    members = _members(prompt)
    if members == {} or (members and any(map(_looks_like_node, members.values()))):
        return None
    what = "An object that holds no node" if members else f"A JSON {_JSON_KINDS[type(prompt)]}"
    return Diagnostic(
        code="not_a_workflow",
        message=f"{what} is no workflow",
        pointer=pointer,
        expected='{"1": {"class_type": …, "inputs": {…}}, …}',
        received=shown(prompt),
        hint=_EXPORT,
    )


_EXPORT = "use 'Export (API)' / 'Save (API Format)' in ComfyUI"
_JSON_KINDS: dict[type, str] = {
    list: "list",
    str: "text",
    int: "number",
    float: "number",
    bool: "true or false",
    type(None): "null",
}


def _who(prompt: Mapping[str, Any], node: str) -> dict[str, Any]:
    raw = _members(prompt.get(node)) or {}
    title, class_type = (_members(raw.get("_meta")) or {}).get("title"), raw.get("class_type")
    return {
        "node": node,
        "title": title if isinstance(title, str) else None,
        "class_type": class_type if isinstance(class_type, str) else None,
    }


_ENDS = ("invalid_json", "not_utf8")
_NO_VALUE = ("not_finite_number", "number_too_long", "nested_too_deeply", "not_json")


def _input_of(path: Sequence[str], code: str) -> str | None:
    if len(path) > 2 and path[1] == "inputs":
        return path[2]
    named = len(path) == 2 and path[1] in ("inputs", "class_type") and code not in _ENDS
    return path[1] if named else None


def _where(who: Mapping[str, Any], name: str | None, place: tuple[int, int]) -> str:
    where = f" (line {place[0]}, column {place[1]})"
    if not who:
        return where
    kind = f" ({who['class_type']})" if who["class_type"] else ""
    return f"{where}, in node {who['node']}{kind}" + (f" at its input {name}" if name else "")


_CONTAINERS = frozenset({list, dict})


class _Nodes:
    """Makes nodes of the JSON of a prompt and collects what is wrong with its shape."""

    def __init__(self, prompt: dict[str, Any] | None, pointer: str) -> None:
        self.prompt: dict[str, Any] = prompt or {}
        self.pointer = pointer
        self.has_nodes = prompt is not None
        self.nodes: dict[str, WorkflowNode] = {}
        self.broken: set[str] = set()
        self.faulty: set[tuple[str, str]] = set()
        self.reported: set[str] = set()
        """Pointers at which a fault left no value, so that what stands there instead is no other fault."""
        self.found: list[Diagnostic] = []

    def fault(self, fault: Fault, place: tuple[int, int] | None) -> Diagnostic:
        """What a fault of the JSON text means for a node; an input that has one is left out of it."""
        prefix = 1 if self.pointer else 0
        inside = self.has_nodes and join_pointer(fault.path[:prefix]) == self.pointer
        path = fault.path[prefix:] if inside else ()
        path = path[:3] if fault.code == "nested_too_deeply" else path
        who = _who(self.prompt, path[0]) if path else {}
        name = _input_of(path, fault.code)
        if name is not None and path[1:2] == ("inputs",) and len(path) > 2:
            self.faulty.add((path[0], name))
        pointer = join_pointer([*fault.path[:prefix], *path] if inside else fault.path)
        if fault.code in _NO_VALUE:
            self.reported.add(pointer)
        # ComfyUI itself writes "is_changed": [NaN] into the nodes of the pictures it saves; nothing reads it.
        harmless = path[1:2] == ("is_changed",) and fault.code == "not_finite_number"
        return Diagnostic(
            code=fault.code,
            message=fault.message + (_where(who, name, place) if fault.code in _ENDS and place else ""),
            severity="warning" if harmless else "error",
            input=name,
            pointer=pointer,
            expected=fault.expected,
            received=fault.received,
            hint=fault.hint,
            line=place and place[0],
            column=place and place[1],
            **who,
        )

    def read(self) -> None:
        for key, raw in self.prompt.items():
            node = self._node(key, raw)
            if node is None:
                self.broken.add(key)
            else:
                self.nodes[key] = node

    def _node(self, key: str, raw: Any) -> WorkflowNode | None:
        if not isinstance(raw, dict):
            message = "A node must be an object with class_type and inputs"
            self._report("invalid_node", message, [key], expected="an object", received=shown(raw))
            return None
        members = cast("dict[str, Any]", raw)
        class_type, inputs = members.get("class_type"), members.get("inputs")
        title = self._title(key, members["_meta"]) if "_meta" in members else None
        if not isinstance(class_type, str):
            self._no_class(key, members)
        if not isinstance(inputs, dict):
            inputs = self._no_inputs(key, members)
        if not isinstance(class_type, str) or inputs is None:
            return None
        return WorkflowNode(key, class_type, self._inputs(key, cast("dict[str, Any]", inputs)), title)

    def _title(self, key: str, meta: Any) -> str | None:
        title = cast("dict[str, Any]", meta).get("title", "") if isinstance(meta, dict) else None
        if isinstance(title, str):
            return title or None
        self._report(
            "invalid_meta",
            "The node's title cannot be read",
            [key, "_meta"],
            severity="warning",
            expected='{"title": "…"}',
            received=shown(meta),
        )
        return None

    def _no_class(self, key: str, members: Mapping[str, Any]) -> None:
        there = "class_type" in members
        self._report(
            "missing_node_type",
            "The node's class_type is not a text" if there else "The node has no class_type",
            [key, "class_type"] if there else [key],
            input="class_type",
            expected="the name of a node class, such as KSampler",
            received=shown(members["class_type"]) if there else None,
            hint="the workflow is damaged, or its editor did not know the node's class; export it again",
        )

    def _no_inputs(self, key: str, members: Mapping[str, Any]) -> dict[str, Any] | None:
        if "inputs" in members:
            message = "The node's inputs must be an object of names and values"
            received = shown(members["inputs"])
            self._report(
                "invalid_inputs", message, [key, "inputs"], input="inputs", expected="an object", received=received
            )
            return None
        message = "The node has no inputs; it is read as one whose inputs are empty"
        self._report("missing_inputs", message, [key], severity="warning", input="inputs", hint='write "inputs": {}')
        return {}

    def _inputs(self, key: str, raw: Mapping[str, Any]) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        for name, value in raw.items():
            if self.faulty and (key, name) in self.faulty:
                continue
            if type(value) not in _CONTAINERS:
                inputs[name] = value
                continue
            try:
                inputs[name] = input_value(value)
            except ValueError as hint:
                self._bad_link(key, name, value, str(hint))
        return inputs

    def _bad_link(self, key: str, name: str, value: Any, hint: str) -> None:
        self.faulty.add((key, name))
        path, expected = [key, "inputs", name], '["node id", slot]'
        self._report(
            "bad_linked_input", BAD_LINK, path, input=name, expected=expected, received=shown(value), hint=hint
        )

    def _report(self, code: str, message: str, path: Sequence[str], **fields: Any) -> None:
        pointer = self.pointer + join_pointer(path)
        if pointer not in self.reported:
            who = _who(self.prompt, path[0])
            self.found.append(Diagnostic(code=code, message=message, pointer=pointer, **who, **fields))
