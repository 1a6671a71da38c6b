"""Other values for some inputs of a workflow: `--set NODE.input=value` and files of settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from graphexec.errors import AllFaults, Diagnostic, WorkflowError
from graphexec.graph.scan import Fault
from graphexec.graph.source import SourceText
from graphexec.graph.textfile import MAX_BYTES, load_bytes, read_bytes
from graphexec.graph.workflow import Workflow, WorkflowNode, input_value, shown

__all__ = ["JsonText", "apply_overrides", "parse_set", "read_set_file", "resolve_node"]


class JsonText(str):
    """A text that is a value already, out of a file of settings; other texts are converted for the input they set."""

    __slots__ = ()


def resolve_node(workflow: Workflow, ref: str) -> str:
    """The id of the node that `ref` names: by id, else by a title that is unique, else by a class that is.

    Raises WorkflowError (unknown_node, ambiguous_node).
    """
    return ref if ref in workflow.nodes else _Names(workflow).resolve(ref)


class _Names:
    """What the nodes of a workflow go by."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        titles, classes = dict[str, list[WorkflowNode]](), dict[str, list[WorkflowNode]]()
        for node in workflow.nodes.values():
            classes.setdefault(node.class_type, []).append(node)
            if node.title is not None:
                titles.setdefault(node.title, []).append(node)
        self._called = {"title": titles, "class": classes}

    def __contains__(self, ref: str) -> bool:
        known = self._workflow.nodes, self._workflow.broken, *self._called.values()
        return any(ref in names for names in known)

    def resolve(self, ref: str) -> str:
        """As `resolve_node`."""
        if ref in self._workflow.nodes:
            return ref
        if ref in self._workflow.broken:
            raise _error("unknown_node", f"The node {ref} could not be read", received=ref, node=ref)
        for what, names in self._called.items():
            found = names.get(ref, [])
            if len(found) == 1:
                return found[0].id
            if found:
                raise _ambiguous(ref, what, found)
        raise _unknown(ref, dict.fromkeys([*self._workflow.nodes, *self._called["title"], *self._called["class"]]))


def parse_set(setting: str) -> tuple[str, str, str]:
    """The node, the input and the text of NODE.input=value; NODE may hold dots and blanks.

    Raises WorkflowError (invalid_setting).
    """
    place, equals, text = setting.partition("=")
    ref, name = _parted(place)
    if not (equals and ref and name):
        raise _invalid(f"'{setting}' does not say what to set", setting)
    return ref, name, text


def _parted(place: str) -> tuple[str, str]:
    """NODE.input at its last dot that has something behind it: names of inputs may end with one."""
    ref, _, name = place.removesuffix(".").rpartition(".")
    return ref, name + "." * place.endswith(".")


def read_set_file(path: str | Path, *, max_bytes: int = MAX_BYTES) -> list[tuple[str, str, Any]]:
    """The settings of a JSON file, {"NODE.input": value} or {"NODE": {"input": value}}, for `apply_overrides`.

    An object is always the settings of one node, unless it is {"__value__": …}. Raises WorkflowError.
    """
    try:
        document = load_bytes(read_bytes(path, max_bytes), str(path), "settings")
        if document.loaded.faults:
            raise WorkflowError(_of_settings(fault, document.text) for fault in document.loaded.faults)
        value: Any = document.loaded.value
        if not isinstance(value, dict):
            raise _invalid(f"{path} holds no settings", shown(value))
        return _settings(cast("dict[str, Any]", value))
    except WorkflowError as error:
        raise WorkflowError(replace(each, source=str(path)) for each in error.diagnostics) from None


def _of_settings(fault: Fault, text: SourceText) -> Diagnostic:
    line, column = text.position(fault.offset)
    return Diagnostic(
        code=fault.code,
        message=fault.message,
        received=fault.received,
        expected=fault.expected,
        hint=fault.hint,
        line=line,
        column=column,
    )


def apply_overrides(
    workflow: Workflow,
    settings: Sequence[tuple[str, str, Any]],
    convert: Callable[[WorkflowNode, str, Any], Any],
    faults: AllFaults,
) -> Workflow:
    """The workflow with the settings (node, input, value) made; of two for the same input the later counts.

    Each goes through `convert(node, input, value)`, which makes of a text what it stands for, hands back any other
    value and a `JsonText` as they are, and raises WorkflowError for an input that there is not and a text that does not
    fit. What is wrong goes to `faults`, and such settings are not made.
    """
    changes: dict[tuple[str, str], Any] = {}
    names = _Names(workflow)
    for ref, name, value in settings:
        with faults:
            called, place = _place(names, ref, name)
            node = workflow.nodes[names.resolve(called)]
            changes[node.id, place] = _value(node, place, value, convert)
    return workflow.with_inputs(changes)


def _place(names: _Names, ref: str, name: str) -> tuple[str, str]:
    """What names the node, and the input: where `ref` names no node, its last dots are those of the input's name."""
    ends = [len(ref), *(place for place in reversed(range(len(ref))) if ref[place] == ".")]
    called = next((ref[:end] for end in ends if ref[:end] in names), ref)
    return called, f"{ref}.{name}"[len(called) + 1 :]


def _value(node: WorkflowNode, name: str, value: Any, convert: Callable[[WorkflowNode, str, Any], Any]) -> Any:
    given = convert(node, name, value)
    if isinstance(given, JsonText):
        return str(given)
    try:
        return input_value(given)
    except ValueError as hint:
        message = f"A list that is set for {node.id}.{name} must be a link, [node_id, slot_index]"
        who: dict[str, Any] = {"node": node.id, "class_type": node.class_type, "title": node.title, "input": name}
        raise _error("bad_linked_input", message, received=shown(given), hint=str(hint), **who) from None


def _settings(members: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    found: list[tuple[str, str, Any]] = []
    faults = AllFaults()
    for key, value in members.items():
        with faults:
            found += _of_member(key, value)
    faults.check()
    return found


def _of_member(key: str, value: Any) -> list[tuple[str, str, Any]]:
    inputs = cast("dict[str, Any] | None", value if isinstance(value, dict) else None)
    if inputs is not None and "__value__" not in inputs:
        return [(key, name, _marked(item)) for name, item in inputs.items()]
    ref, name = _parted(key)
    if ref and name:
        return [(ref, name, _marked(value))]
    raise _invalid(f"'{key}' does not say what to set", key)


def _marked(value: Any) -> Any:
    return JsonText(value) if isinstance(value, str) else value


def _error(code: str, message: str, **fields: Any) -> WorkflowError:
    return WorkflowError([Diagnostic(code=code, message=message, **fields)])


def _invalid(message: str, received: str) -> WorkflowError:
    expected = 'NODE.input=value, or in a file {"NODE.input": value} or {"NODE": {"input": value}}'
    hint = "NODE is a node's id, or its title or class if only one node has it: 6.seed=42"
    return _error("invalid_setting", message, expected=expected, received=received, hint=hint)


def _ambiguous(ref: str, what: str, found: Iterable[WorkflowNode]) -> WorkflowError:
    ids = [node.id for node in found]
    some = ", ".join(ids[:20]) + (", …" if len(ids) > 20 else "")
    message = f"{len(ids)} nodes have the {what} '{ref}': {some}"
    return _error("ambiguous_node", message, expected="one node", received=ref, hint="name the node by its id")


def _unknown(ref: str, names: Iterable[str]) -> WorkflowError:
    close = get_close_matches(ref, list(names), n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "nodes are named by id, title or class"
    message = f"No node has the id, the title or the class '{ref}'"
    return _error("unknown_node", message, expected="a node of the workflow", received=ref, hint=hint)
