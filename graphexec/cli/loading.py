"""From a command's arguments to a checked workflow."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from graphexec.cli.diagnostics import diagnostic_json, render
from graphexec.cli.document import print_document
from graphexec.cli.exits import ExitCode, exit_code, exit_code_of
from graphexec.cli.terminal import others_on_stderr
from graphexec.errors import AllFaults, Diagnostic, FolderError, NodeDefinitionError, WorkflowError
from graphexec.graph.overrides import apply_overrides, parse_set, read_set_file, resolve_node
from graphexec.graph.values import Code, did_you_mean
from graphexec.graph.workflow import Link, Workflow, WorkflowNode, input_value, read_workflow

if TYPE_CHECKING:
    from graphexec.cli.options import Changes, Checks, Places
    from graphexec.graph.compile import Compiled
    from graphexec.graph.folders import Folders
    from graphexec.graph.plan import Plan
    from graphexec.node.registry import Registry
    from graphexec.node.spec import InputSpec, NodeSpec

BY_ITSELF = frozenset({*get_args(Code), "linked_node_missing", "output_slot_out_of_range"})
"""Faults of a value, whatever the other values are."""
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,4000}")


class Asked:
    """A workflow with the values of `--set` and `--set-file`, and what is wrong with how it was asked for."""

    def __init__(self, file: str, changes: Changes, registry: Registry, faults: AllFaults) -> None:
        """Raises WorkflowError for a workflow that cannot be read, with all other faults that were found."""
        self.faults = faults
        self._registry = registry
        others = len(faults.found)
        settings = _settings(changes, self.faults)
        read: Workflow | None = None
        with self.faults:
            read = read_workflow(file)
        if read is None:
            raise WorkflowError(self.faults.found)
        self._read = read
        self.workflow = apply_overrides(read, settings, self._convert, self.faults) if settings else read
        self._is_whole = len(faults.found) == others

    def _convert(self, node: WorkflowNode, name: str, value: Any) -> Any:
        spec = readable_spec(self._registry, node.class_type)
        if spec is None:
            return value
        if name not in spec.inputs:
            raise _unknown_input(node, name, list(spec.inputs))
        return parse_value(spec.inputs[name], value) if type(value) is str else value

    def plan(
        self, folders: Folders | None, checks: Checks, targets: list[str] | None, *, check_files: bool = True
    ) -> Plan:
        """Its plan; raises WorkflowError with all that is wrong with it and with how it was asked for."""

        def compiled(workflow: Workflow) -> Compiled:
            return checked(workflow, self._registry, folders, checks, targets, check_files=check_files)

        now = compiled(self.workflow)
        if now.plan is not None and not self.faults.found:
            return now.plan
        found = now.diagnostics
        if not self._is_whole:  # what was not there before may be so for want of the settings that could not be made
            before = frozenset(compiled(self._read).diagnostics)
            found = [each for each in found if each in before or self._is_of_a_setting(each)]
        raise WorkflowError((*self.faults.found, *found))

    def _is_of_a_setting(self, found: Diagnostic) -> bool:
        """Whether a value that was set is wrong by itself."""
        return found.code in BY_ITSELF and (found.node, found.input) in self.workflow.replaced


def checked(
    workflow: Workflow,
    registry: Registry,
    folders: Folders | None,
    checks: Checks,
    targets: list[str] | None,
    *,
    check_files: bool,
) -> Compiled:
    """A workflow's plan or what is wrong with it, by the options; without folders no file is looked for."""
    from graphexec.graph.compile import check
    from graphexec.graph.folders import Folders

    return check(
        workflow,
        registry=registry,
        folders=folders or Folders({}),
        targets=targets,
        strict=checks.strict,
        strict_lora=checks.strict_lora,
        fill_defaults=checks.fill_defaults,
        check_files=check_files and folders is not None,
    )


def find_folders(places: Places, faults: AllFaults, output: Path = Path("output")) -> Folders | None:
    """Where names of files are looked up; None if a place that was asked for cannot be read, and `faults` says why."""
    try:
        return places.folders(output)
    except FolderError as error:
        missing = exit_code_of(error) is ExitCode.MISSING
        faults.found.append(Diagnostic(code="invalid_model_folder", message=str(error), missing_file=missing))
        return None


def _settings(changes: Changes, faults: AllFaults) -> list[tuple[str, str, Any]]:
    """What is to be set: node, input, value."""
    found: list[tuple[str, str, Any]] = []
    for path in changes.set_files:
        with faults:
            found += read_set_file(path)
    for text in changes.settings:
        with faults:
            found.append(parse_set(text))
    return found


def readable_spec(registry: Registry, class_type: str) -> NodeSpec | None:
    """A node class, or None for one that is not there or cannot be read: the check of the workflow says why."""
    try:
        return registry.get(class_type)
    except NodeDefinitionError:
        return None


def _unknown_input(node: WorkflowNode, name: str, known: list[str]) -> WorkflowError:
    return WorkflowError(
        [
            Diagnostic(
                code="undeclared_input",
                message=f"{node.class_type} has no input {name!r} to set",
                node=node.id,
                title=node.title,
                class_type=node.class_type,
                input=name,
                expected=f"one of {', '.join(known)}" if known else "no inputs",
                received=name,
                hint=did_you_mean(name, known),
            )
        ]
    )


def parse_value(spec: InputSpec, text: str) -> Any:
    """What a text of the command line stands for at an input; one that does not fit stays a text, to be reported."""
    if spec.choices is not None:
        return next((choice for choice in spec.choices if str(choice) == text), text)
    wires = {wire.strip() for wire in spec.wire.split(",")}
    if spec.folder is not None or "STRING" in wires:
        return text
    anything = "*" in wires
    for value in (
        _link(text),
        _boolean(text) if anything or "BOOLEAN" in wires else None,
        _number(text) if anything or wires & {"INT", "FLOAT"} else None,
    ):
        if value is not None:
            return value
    return text


def _link(text: str) -> Link | None:
    try:
        value = json.loads(text) if text.startswith("[") else None
        found = input_value(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Link) else None


def _boolean(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.casefold())


def _number(text: str) -> int | float | None:
    if WHOLE_NUMBER.fullmatch(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def find_targets(
    workflow: Workflow,
    wanted: tuple[str, ...],
    registry: Registry,
    faults: AllFaults,
    exported: Sequence[str] | None = None,
) -> list[str] | None:
    """The ids of nodes named by id, title or class, and of those that are exported; None is all output nodes.

    `exported` is None where no export was asked for. What is wrong with the names goes to `faults`; then all output
    nodes are to be checked, or all nodes where there are no such and nothing else is left to check.
    """
    found: list[str] = []
    for name in wanted:
        with faults:
            found.append(name if name in workflow.broken else resolve_node(workflow, name))
    if len(found) < len(wanted):
        found = []
    elif exported is None:
        return found or None
    roots = found or _output_nodes(workflow, registry)
    return list(dict.fromkeys([*roots, *(exported or ())])) or list(workflow.nodes)


def _output_nodes(workflow: Workflow, registry: Registry) -> list[str]:
    """The ids of the nodes that run for what they do: those that save or show something."""
    found: list[str] = []
    for node in workflow.nodes.values():
        spec = readable_spec(registry, node.class_type)
        if spec is not None and spec.is_output:
            found.append(node.id)
    return found


def load_plan(
    file: str,
    registry: Registry,
    changes: Changes,
    places: Places,
    checks: Checks,
    *,
    check_files: bool = True,
    as_json: bool = False,
) -> Plan:
    """Read and check a workflow; what was found goes to stderr. An error ends the command, in a document `as_json`."""
    try:
        with others_on_stderr():
            faults = AllFaults()
            folders = find_folders(places, faults)
            asked = Asked(file, changes, registry, faults)
            targets = find_targets(asked.workflow, checks.targets, registry, faults)
            plan = asked.plan(folders, checks, targets, check_files=check_files)
    except WorkflowError as error:
        click.echo(render(error.diagnostics, file), err=True)
        code = exit_code(error.diagnostics)
        if as_json:
            print_document(code, diagnostics=[diagnostic_json(each) for each in error.diagnostics])
        raise click.exceptions.Exit(code) from None
    if plan.diagnostics:
        click.echo(render(plan.diagnostics, file), err=True)
    return plan
