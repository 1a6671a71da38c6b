"""From a command's arguments to a checked workflow."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import click

from graphexec.cli.diagnostics import diagnostic_json, render
from graphexec.cli.document import print_document
from graphexec.cli.exits import exit_code
from graphexec.errors import AllFaults, Diagnostic, NodeDefinitionError, WorkflowError
from graphexec.graph.overrides import apply_overrides, parse_set, read_set_file, resolve_node
from graphexec.graph.values import did_you_mean
from graphexec.graph.workflow import Link, Workflow, WorkflowNode, input_value, read_workflow

if TYPE_CHECKING:
    from graphexec.cli.options import Changes, Checks, Places
    from graphexec.graph.plan import Plan
    from graphexec.node.registry import Registry
    from graphexec.node.spec import InputSpec, NodeSpec

WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,4000}")


def read_changed(file: str, changes: Changes, registry: Registry) -> Workflow:
    """Read a workflow and put the values of `--set` and `--set-file` into it.

    Raises WorkflowError for what cannot be read, and for settings that name no node or no input.
    """
    workflow = read_workflow(file)
    settings = _settings(changes)
    if not settings:
        return workflow

    def convert(node: WorkflowNode, name: str, value: Any) -> Any:
        spec = readable_spec(registry, node.class_type)
        if spec is None:
            return value
        if name not in spec.inputs:
            raise _unknown_input(node, name, list(spec.inputs))
        return parse_value(spec.inputs[name], value) if type(value) is str else value

    return apply_overrides(workflow, settings, convert)


def _settings(changes: Changes) -> list[tuple[str, str, Any]]:
    """What is to be set: node, input, value. Raises WorkflowError with all that cannot be understood."""
    found: list[tuple[str, str, Any]] = []
    faults = AllFaults()
    for path in changes.set_files:
        with faults:
            found += read_set_file(path)
    for text in changes.settings:
        with faults:
            found.append(parse_set(text))
    faults.check()
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


def find_targets(workflow: Workflow, wanted: tuple[str, ...]) -> list[str]:
    """The ids of nodes named by id, title or class; raises WorkflowError naming every one that is none."""
    found: list[str] = []
    faults = AllFaults()
    for name in wanted:
        with faults:
            found.append(name if name in workflow.broken else resolve_node(workflow, name))
    faults.check()
    return found


def output_nodes(workflow: Workflow, registry: Registry) -> list[str]:
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
    from graphexec.graph.compile import compile as compile_workflow

    try:
        workflow = read_changed(file, changes, registry)
        plan = compile_workflow(
            workflow,
            registry=registry,
            folders=places.folders(),
            targets=find_targets(workflow, checks.targets) or None,
            strict=checks.strict,
            strict_lora=checks.strict_lora,
            fill_defaults=checks.fill_defaults,
            check_files=check_files,
        )
    except WorkflowError as error:
        click.echo(render(error.diagnostics, file), err=True)
        code = exit_code(error.diagnostics)
        if as_json:
            print_document(code, diagnostics=[diagnostic_json(each) for each in error.diagnostics])
        raise click.exceptions.Exit(code) from None
    if plan.diagnostics:
        click.echo(render(plan.diagnostics, file), err=True)
    return plan
