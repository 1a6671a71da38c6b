"""Carries what is known of values before anything runs along the links: sizes, families, bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphexec.errors import ModelFileError, said
from graphexec.graph.check import Draft
from graphexec.graph.findings import Findings
from graphexec.graph.plan import PlannedNode
from graphexec.node.boundary import Raised, attempt
from graphexec.node.fields import Facts, Inferred

NOTHING: Facts = {}

ABSENT = "absent"
"""The fact of an output that will hold nothing to work with, in words that say what to do instead."""


def infer_facts(
    draft: Draft, planned: Mapping[str, PlannedNode], findings: Findings, *, files: bool
) -> tuple[Facts, ...]:
    """Ask the node's `infer` for facts of its outputs; what it notes joins the findings.

    Without `files` a node that reads one is not asked. An input that is absent is an error, and nothing is asked then.
    """
    absent = {wire.input: _known(draft, wire.input, planned).get(ABSENT) for wire in draft.wires}
    for name, message in absent.items():
        if message is not None:
            findings.add("absent_input", message, draft.node, input=name)
    if any(absent.values()):
        return ()
    hook = draft.spec.infer
    if hook is None or (not files and draft.spec.reads_files):
        return ()
    arguments = {name: _known(draft, name, planned) for name in hook.names}
    inferred = attempt(hook.function, arguments)
    if isinstance(inferred, Raised):
        _report(draft, inferred.error, findings)
        return ()
    if not isinstance(inferred, Inferred):
        return ()
    for note in inferred.notes:
        findings.add(note.code, note.message, draft.node, input=note.input, severity=note.severity, hint=note.hint)
    return inferred.outputs


def _known(draft: Draft, name: str, planned: Mapping[str, PlannedNode]) -> Any:
    """A constant, the facts of what is linked, or the default."""
    for wire in draft.wires:
        if wire.input == name:
            facts = planned[wire.node].facts
            return facts[wire.slot] if wire.slot < len(facts) else NOTHING
    if name in draft.constants:
        return draft.constants[name]
    spec = draft.spec.inputs[name]
    return spec.default if spec.has_default else None


def _report(draft: Draft, error: Exception, findings: Findings) -> None:
    """What `infer` raised is a fault of the file that the node reads, if it reads one."""
    file = next((name for name, spec in draft.spec.inputs.items() if spec.folder), None)
    code = "invalid_model_file" if isinstance(error, ModelFileError) else "static_fact"
    findings.add(code, said(error), draft.node, input=file)
