"""Checks the nodes of a workflow one by one against their specs: inputs, links, values and files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphexec.errors import FolderError, NodeDefinitionError, WorkflowError
from graphexec.graph.findings import Findings
from graphexec.graph.folders import PICTURES, Folders, MissingModelFile, relative_path
from graphexec.graph.mentions import mentioned_files
from graphexec.graph.overrides import resolve_node
from graphexec.graph.plan import Wire
from graphexec.graph.values import check_value, did_you_mean, not_in_list, show, suggestion
from graphexec.graph.wires import compatible
from graphexec.graph.workflow import Link, Workflow, WorkflowNode, input_json
from graphexec.node.boundary import Raised, attempt
from graphexec.node.fields import Mentioned
from graphexec.node.registry import Registry
from graphexec.node.spec import Hook, InputSpec, NodeSpec

NODE_VALUE = re.compile(r"%(?!date:)([^%]+)\.([^%.]+)%")
BUTTONS = frozenset({"upload", "choose file to upload"})
"""What ComfyUI's editor wrote of the button beside a list of pictures, and many files hold: no input of any node."""

MOST_NEAR_IDS = 100
NOT_IN_NAMES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


@dataclass(slots=True)
class Draft:
    """A node on its way into the plan."""

    node: WorkflowNode
    spec: NodeSpec
    constants: dict[str, Any] = field(default_factory=dict[str, Any])
    wires: list[Wire] = field(default_factory=list[Wire])
    sound: bool = True
    """Whether every input stood its check."""


@dataclass(slots=True)
class Checker:
    """One check of one workflow."""

    workflow: Workflow
    registry: Registry
    folders: Folders
    findings: Findings
    fill_defaults: bool
    check_files: bool
    drafts: dict[str, Draft] = field(default_factory=dict[str, Draft])
    _resolved: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    _files: dict[tuple[str, str], Path | FolderError | MissingModelFile] = field(
        default_factory=dict[tuple[str, str], "Path | FolderError | MissingModelFile"]
    )
    _near: dict[str, str | None] = field(default_factory=dict[str, "str | None"])

    def run(self) -> dict[str, Draft]:
        """Check every node; the drafts hold what is sound of each."""
        for node in self.workflow.nodes.values():
            try:
                spec = self.registry.get(node.class_type)
            except NodeDefinitionError as error:
                self._unreadable_class(node, error)
                continue
            if spec is None:
                self._unknown_class(node)
            else:
                self.drafts[node.id] = Draft(node, spec)
        for name, node in self.workflow.nodes.items():
            if name in self.drafts:
                self._check_inputs(self.drafts[name])
            else:
                self._check_raw_links(node)
        return self.drafts

    def _unreadable_class(self, node: WorkflowNode, error: NodeDefinitionError) -> None:
        self.findings.add(
            "missing_node_type",
            f"Node type {node.class_type!r} cannot be used: {error}",
            node,
            place="class_type",
            received=show(node.class_type),
            hint="mend or update the pack that it comes with, or install what that needs",
        )

    def _unknown_class(self, node: WorkflowNode) -> None:
        absent = self.registry.absent.get(node.class_type)
        near = suggestion(self.registry.nearest(node.class_type))
        hint = absent or near or "`graphexec nodes` lists the known ones"
        if self.registry.broken:
            hint += f"; packs that could not be loaded may have it: {', '.join(self.registry.broken)}"
        self.findings.add(
            "missing_node_type",
            f"Node type {node.class_type!r} does not exist",
            node,
            place="class_type",
            expected="the name of a known node",
            received=show(node.class_type),
            hint=hint,
        )

    def _check_raw_links(self, node: WorkflowNode) -> None:
        """Of a node whose class says nothing about its inputs, whether their sources exist."""
        for name, value in node.inputs.items():
            if isinstance(value, Link) and not self._exists(value.node):
                self._missing_source(node, name, value)

    def _check_inputs(self, draft: Draft) -> None:
        given = draft.node.inputs
        for spec in draft.spec.inputs.values():
            if spec.name in given:
                self._check_input(draft, spec, given[spec.name])
            else:
                self._absent(draft, spec)
        if not given.keys() <= draft.spec.inputs.keys():
            self._undeclared(draft)
        if draft.spec.mentioned and draft.sound:
            self._find_mentioned(draft)

    def _find_mentioned(self, draft: Draft) -> None:
        """Let a node have the files that its texts mention."""

        def missing(name: str, mention: str, mark: Mentioned) -> None:
            found = self._find(mark.kind, mention)
            self.findings.add(
                "mentioned_file_missing",
                mark.missing(mention),
                draft.node,
                input=name,
                severity="warning",
                received=mention,
                hint=_missing_file_hint(found) if isinstance(found, MissingModelFile) else "name a file of the folder",
            )

        if self.check_files:
            linked = {wire.input for wire in draft.wires}
            draft.constants |= mentioned_files(draft.spec, draft.constants, linked, self.folders, missing)
        else:
            draft.constants |= {name: {} for name in draft.spec.mentioned}

    def _check_input(self, draft: Draft, spec: InputSpec, value: Any) -> None:
        if isinstance(value, Link):
            self._check_link(draft, spec, value)
        elif value is None and spec.optional:
            if spec.default is not None and not spec.whole_list:  # else it is as good as left out
                draft.constants[spec.name] = None
        elif spec.folder is not None:
            self._check_file(draft, spec, value)
        else:
            self._check_constant(draft, spec, value)

    def _absent(self, draft: Draft, spec: InputSpec) -> None:
        if (draft.node.id, spec.name) in self.workflow.faulty:
            draft.sound = False
            return
        if spec.optional:
            _leave_out(draft, spec)
            return
        if spec.has_default and self.fill_defaults:
            self.findings.add(
                "default_filled",
                f"Input {spec.name!r} is missing; its default {spec.default_text} is used",
                draft.node,
                input=spec.name,
                severity="warning",
                expected=spec.expectation(),
            )
            self._fill_default(draft, spec)
            return
        draft.sound = False
        self.findings.add(
            "required_input_missing",
            f"Required input is missing: {spec.name!r}",
            draft.node,
            input=spec.name,
            expected=spec.expectation(),
            received="nothing",
            hint=f"add it, or pass --fill-defaults to use its default {spec.default_text}"
            if spec.has_default
            else f"add {'it, with one of its values' if spec.choices else spec.expectation()}",
        )

    def _fill_default(self, draft: Draft, spec: InputSpec) -> None:
        """Take the default as if it were written there; only that of a socket cannot be."""
        default = spec.default.as_posix() if isinstance(spec.default, Path) else spec.default
        if spec.widget and default is not None:
            self._check_input(draft, spec, default)
        else:
            draft.constants[spec.name] = default

    def _undeclared(self, draft: Draft) -> None:
        takes_picture = any(spec.folder and spec.folder.kind in PICTURES for spec in draft.spec.inputs.values())
        declared = {*draft.spec.inputs, *(BUTTONS if takes_picture else ())}
        for name in draft.node.inputs:
            if name not in declared:
                self.findings.add(
                    "undeclared_input",
                    f"{draft.spec.name} has no input {name!r}; it is ignored",
                    draft.node,
                    input=name,
                    lossy=True,
                    expected=f"one of {', '.join(draft.spec.inputs)}" if draft.spec.inputs else "no inputs",
                    received=show(input_json(draft.node.inputs[name])),
                    hint=did_you_mean(name, list(draft.spec.inputs)) or "remove it",
                )

    def _check_constant(self, draft: Draft, spec: InputSpec, value: Any) -> None:
        if spec.look.filename_prefix and isinstance(value, str):
            value = self._fill_placeholders(draft, spec, value)
        checked = check_value(spec, value, bounds=spec.name not in draft.spec.checked_inputs)
        draft.constants[spec.name] = checked.value
        if not checked.problems:
            return
        for problem in checked.problems:
            self.findings.add(
                problem.code,
                f"{spec.name}: {problem.message}",
                draft.node,
                input=spec.name,
                lossy=problem.code == "lossy_conversion",
                expected=spec.expectation(),
                received=show(value),
                hint=problem.hint,
            )
        draft.sound = draft.sound and checked.valid

    def _check_file(self, draft: Draft, spec: InputSpec, value: Any) -> None:
        folder = spec.folder
        if folder is None or not isinstance(value, str):
            self._fail(draft, spec, "invalid_input_type", f"{spec.name}: a file name is a text", received=show(value))
            return
        if value in folder.choices:
            draft.constants[spec.name] = Path(value) if self.check_files else value
            return
        found = self._find(folder.kind, f"{value}/{folder.marker}" if folder.marker else value)
        if isinstance(found, FolderError):
            self._fail(draft, spec, "file_outside_folder", f"{spec.name}: {found}", received=show(value))
        elif isinstance(found, MissingModelFile):
            message = not_in_list(value, self.folders.names(folder.kind))
            self._fail(
                draft,
                spec,
                "value_not_in_list",
                f"{spec.name}: {message}; no such file in {folder.kind}",
                received=show(value),
                missing_file=True,
                hint=_missing_file_hint(found),
            )
        else:
            draft.constants[spec.name] = found if self.check_files else value

    def _find(self, kind: str, name: str) -> Path | FolderError | MissingModelFile:
        """Look for a model file, or why there is none; once, however many nodes name it.

        Without `check_files` only whether its name stays in the folder.
        """
        place = (kind, name)
        if place not in self._files:
            try:
                looked_at = self.folders.resolve if self.check_files else relative_path
                self._files[place] = Path(looked_at(kind, name))
            except (FolderError, MissingModelFile) as error:
                self._files[place] = error
        return self._files[place]

    def _check_link(self, draft: Draft, spec: InputSpec, link: Link) -> None:
        source = self.drafts.get(link.node)
        if source is None:
            draft.sound = False
            if not self._exists(link.node):
                self._missing_source(draft.node, spec.name, link, expected=spec.expectation())
            return
        draft.wires.append(Wire(spec.name, link.node, link.slot, spec.lazy))
        outputs = source.spec.outputs
        if not 0 <= link.slot < len(outputs):
            self._bad_slot(draft, spec, link, source)
            return
        sent = outputs[link.slot].wire
        taken = spec.wire
        if sent == taken and sent != "*":
            return
        if sent == "*":
            sent = self._resolve(link.node, link.slot)
        if taken == "*":
            taken = self._tied(draft, spec)
        if not compatible(sent, taken):
            self._fail(
                draft,
                spec,
                "return_type_mismatch",
                f"Return type mismatch between linked nodes: {spec.name}, "
                f"received_type({sent}) mismatch input_type({taken})",
                received=f"{sent}, output {link.slot} of node {link.node} ({source.spec.name})",
                hint=_slot_hint(source, taken),
            )

    def _exists(self, name: str) -> bool:
        return name in self.workflow.nodes or name in self.workflow.broken

    def _missing_source(self, node: WorkflowNode, name: str, link: Link, expected: str | None = None) -> None:
        self.findings.add(
            "linked_node_missing",
            f"{name} is linked to node {link.node!r}, which does not exist",
            node,
            input=name,
            expected=expected,
            received=f"[{link.node!r}, {link.slot}]",
            hint=self._near_id(link.node) or "link it to a node of this file",
        )

    def _near_id(self, name: str) -> str | None:
        """A hint for an id that does not exist; each is compared with every node, so only the first ones are."""
        if name not in self._near and len(self._near) < MOST_NEAR_IDS:
            self._near[name] = did_you_mean(name, list(self.workflow.nodes))
        return self._near.get(name)

    def _bad_slot(self, draft: Draft, spec: InputSpec, link: Link, source: Draft) -> None:
        count = len(source.spec.outputs)
        has = f"has {count} output{'s' * (count != 1)}" + (f" (0 to {count - 1})" if count else "")
        self._fail(
            draft,
            spec,
            "output_slot_out_of_range",
            f"{spec.name} is linked to output {link.slot} of node {link.node} ({source.spec.name}), which {has}",
            received=f"[{link.node!r}, {link.slot}]",
            hint=_slot_hint(source, spec.wire),
        )

    def _fail(self, draft: Draft, spec: InputSpec, code: str, message: str, **details: Any) -> None:
        draft.sound = False
        self.findings.add(code, message, draft.node, input=spec.name, expected=spec.expectation(), **details)

    def _resolve(self, name: str, slot: int) -> str:
        """The wire type of a wildcard output: that of whatever feeds the input it is tied to."""
        way: dict[tuple[str, int], None] = {}
        wire, place = "*", (name, slot)
        while place not in self._resolved and place not in way:
            draft = self.drafts.get(place[0])
            if draft is None or not 0 <= place[1] < len(draft.spec.outputs):
                break
            output = draft.spec.outputs[place[1]]
            wire = output.wire
            link = _first_tied(draft, output.type_var) if wire == "*" else None
            if link is None:
                break
            way[place] = None
            place = link.node, link.slot
        wire = self._resolved.get(place, wire)
        self._resolved.update(dict.fromkeys(way, wire))
        return wire

    def _tied(self, draft: Draft, spec: InputSpec) -> str:
        """What a wildcard input takes: the type of the first link that shares its type variable."""
        link = _first_tied(draft, spec.type_var)
        if link is None or draft.node.inputs.get(spec.name) is link:
            return "*"
        source = self.drafts.get(link.node)
        if source is None or not 0 <= link.slot < len(source.spec.outputs):
            return "*"
        wire = source.spec.outputs[link.slot].wire
        return self._resolve(link.node, link.slot) if wire == "*" else wire

    def _fill_placeholders(self, draft: Draft, spec: InputSpec, text: str) -> str:
        """`%Node.widget%` as ComfyUI's editor fills it in before it queues a workflow."""

        def value(match: re.Match[str]) -> str:
            found = self._widget_value(match[1], match[2])
            if found is not None:
                return NOT_IN_NAMES.sub("_", str(found))
            self.findings.add(
                "unknown_placeholder",
                f"{spec.name}: {match[0]} names no value of one node; it stays as it is",
                draft.node,
                input=spec.name,
                severity="warning",
                hint="write %NODE.input% with an id, or a title or class_type that only one node has",
            )
            return match[0]

        return NODE_VALUE.sub(value, text)

    def _widget_value(self, reference: str, name: str) -> Any:
        try:
            node = self.workflow.nodes[resolve_node(self.workflow, reference)]
        except WorkflowError:
            return None
        value = node.inputs.get(name)
        return None if isinstance(value, Link | dict | list) else value


def _leave_out(draft: Draft, spec: InputSpec) -> None:
    """An optional input that is not given is its parameter's default, or None where that has none."""
    if not spec.has_default:
        draft.constants[spec.name] = None


def run_check_hook(draft: Draft, drafts: Mapping[str, Draft], findings: Findings) -> None:
    """Ask the node's own `check`; it sees converted values, and None where an input is linked."""
    hook = draft.spec.check
    if hook is None or not draft.sound:
        return
    arguments = hook_arguments(draft, hook)
    if "input_types" in arguments:
        arguments["input_types"] = {wire.input: drafts[wire.node].spec.outputs[wire.slot].wire for wire in draft.wires}
    verdict = attempt(hook.function, arguments)
    if verdict is True or verdict is None:
        return
    text = f"{type(verdict.error).__name__}: {verdict.error}" if isinstance(verdict, Raised) else verdict
    findings.add(
        "custom_validation_failed",
        "Custom validation failed for node" + (f" - {text}" if isinstance(text, str) else ""),
        draft.node,
        input=next((name for name in hook.names if name in draft.node.inputs), None),
    )
    draft.sound = False


def hook_arguments(draft: Draft, hook: Hook) -> dict[str, Any]:
    """What a hook sees: converted values, defaults of what is absent, and None where an input is linked."""
    linked = {wire.input for wire in draft.wires}
    absent = {
        name: spec.default
        for name, spec in draft.spec.inputs.items()
        if spec.has_default and name not in linked and name not in draft.constants
    }
    return {name: draft.constants.get(name, absent.get(name)) for name in hook.names}


def _first_tied(draft: Draft, type_var: str | None) -> Link | None:
    if type_var is None:
        return None
    for spec in draft.spec.inputs.values():
        value = draft.node.inputs.get(spec.name)
        if spec.type_var == type_var and isinstance(value, Link):
            return value
    return None


def _slot_hint(source: Draft, wire: str) -> str | None:
    fits = [slot for slot, output in enumerate(source.spec.outputs) if compatible(output.wire, wire)]
    if len(fits) == 1 and source.spec.outputs[fits[0]].wire != "*":
        return f"output {fits[0]} of node {source.node.id} is of type {source.spec.outputs[fits[0]].wire}"
    return f"{source.spec.name} returns {', '.join(output.wire for output in source.spec.outputs) or 'nothing'}"


def _missing_file_hint(error: MissingModelFile) -> str | None:
    place = f"put the file into {error.searched[0]}" if error.searched else None
    models = None if error.kind in PICTURES else "name a models folder with --models"
    ways = " or ".join(way for way in (place, models) if way)
    near = suggestion(error.nearest)
    return f"{near} Otherwise {ways}" if near and ways else near or ways or None
