"""Collects what a check finds, each with its place in the file."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import Any

from graphexec.errors import Diagnostic
from graphexec.graph.scan import join_pointer
from graphexec.graph.workflow import Workflow, WorkflowNode

ALWAYS_ERRORS = frozenset({"missing_node_type"})
"""Faults that stop a workflow even in a node nobody needs, as in ComfyUI."""


LORA_PARTLY_USED = "lora_partly_used"
"""What a node notes of a LoRA that its model has no use for in part; `strict_lora` makes it an error."""


@dataclass(slots=True)
class Findings:
    """Everything found in one workflow so far."""

    workflow: Workflow
    strict: bool
    strict_lora: bool = False
    found: list[Diagnostic] = field(default_factory=list[Diagnostic])

    def add(
        self, code: str, message: str, node: WorkflowNode | None = None, *, place: str | None = None, **details: Any
    ) -> None:
        """Note one fault; `input` among the details, or another `place`, says where inside the node."""
        pointer = self._pointer(node, place, details.get("input"))
        lossy = bool(details.get("lossy"))
        details.setdefault("severity", "error" if not lossy or self.strict else "warning")
        if self.strict_lora and code == LORA_PARTLY_USED:
            details["severity"] = "error"
        replaced = node is not None and (node.id, details.get("input")) in self.workflow.replaced
        line, column = (None if replaced else self.workflow.locate(pointer)) or (None, None)
        self.found.append(
            Diagnostic(
                code=code,
                message=message,
                node=node.id if node else None,
                title=node.title if node else None,
                class_type=node.class_type if node else None,
                pointer=pointer,
                line=line,
                column=column,
                **details,
            )
        )

    def sorted(self, needed: Container[str]) -> tuple[Diagnostic, ...]:
        """What reading and checking found, in the order of the file; faults of nodes nobody needs only warn."""
        firm = {diagnostic.node for diagnostic in self.found if diagnostic.code in ALWAYS_ERRORS}
        reading = [self._strictly(diagnostic) for diagnostic in self.workflow.diagnostics]
        firm |= {diagnostic.node for diagnostic in reading if self._has_two_classes(diagnostic)}
        reading = [
            diagnostic
            if diagnostic.input is None or diagnostic.node in firm or diagnostic.node not in self.workflow.nodes
            else self._softened(diagnostic, needed)
            for diagnostic in reading
        ]
        own = [self._softened(diagnostic, needed) for diagnostic in self.found]
        place = {name: index for index, name in enumerate(self.workflow.prompt)}

        def order(found: Diagnostic) -> tuple[int, int, int]:
            return -1 if found.node is None else place.get(found.node, -1), found.line or 0, found.column or 0

        return tuple(sorted(reading + own, key=order))

    def _pointer(self, node: WorkflowNode | None, place: str | None, name: str | None) -> str:
        if node is None:
            return self.workflow.pointer
        parts = [node.id, place] if place else [node.id] if name is None else [node.id, "inputs"]
        if name is not None and name in node.inputs:
            parts.append(name)
        return self.workflow.pointer + join_pointer(parts)

    def _has_two_classes(self, diagnostic: Diagnostic) -> bool:
        """Whether the node says twice what it is, so that nobody can tell what it is for."""
        place = [diagnostic.node or "", "class_type"]
        return diagnostic.code == "duplicate_key" and diagnostic.pointer == self.workflow.pointer + join_pointer(place)

    def _strictly(self, diagnostic: Diagnostic) -> Diagnostic:
        if self.strict and diagnostic.lossy:
            return replace(diagnostic, severity="error")
        return diagnostic

    def _softened(self, diagnostic: Diagnostic, needed: Container[str]) -> Diagnostic:
        if diagnostic.node is None or diagnostic.node in needed or diagnostic.code in ALWAYS_ERRORS:
            return diagnostic
        return replace(diagnostic, severity="warning")
