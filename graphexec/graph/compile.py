"""Turns a workflow into a plan, or says everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx

from graphexec.errors import Diagnostic, WorkflowError
from graphexec.graph.check import Checker, Draft, hook_arguments, run_check_hook
from graphexec.graph.facts import infer_facts
from graphexec.graph.findings import Findings
from graphexec.graph.folders import Folders
from graphexec.graph.keys import canonical
from graphexec.graph.plan import Plan, PlannedNode, Wire
from graphexec.graph.reach import Reach
from graphexec.graph.topology import cycles, dependency_order, running_order
from graphexec.graph.values import did_you_mean
from graphexec.graph.workflow import Workflow, read_workflow
from graphexec.node.registry import Registry

if TYPE_CHECKING:
    from graphexec.node.fields import Facts

LONGEST_WAY = 20
"""How many nodes of a cycle are named."""

Source = Workflow | Mapping[str, Any] | str | Path | bytes
"""A workflow, parsed JSON, the path of a file (a picture too), `-` for standard input, or the bytes of a file."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A plan if the workflow is sound, and all that was found."""

    plan: Plan | None
    diagnostics: tuple[Diagnostic, ...]


def compile(  # noqa: A001 - the word of the field
    workflow: Source,
    *,
    registry: Registry | None = None,
    folders: Folders | None = None,
    targets: Sequence[str] | None = None,
    strict: bool = False,
    strict_lora: bool = False,
    fill_defaults: bool = False,
    check_files: bool = True,
) -> Plan:
    """Check a workflow and plan its run.

    Args:
        workflow: what to compile.
        registry: which nodes there are; the built-in and installed ones if not given.
        folders: where model files lie; the standard places if not given.
        targets: ids of the nodes wanted; all output nodes if not given.
        strict: lossy conversions, undeclared inputs and wrapped prompts are errors.
        strict_lora: a LoRA that changes the model only in part is an error.
        fill_defaults: a missing value that has a default is a warning.
        check_files: look for model files; without it a plan can be checked but not run.

    Raises WorkflowError with every diagnostic, warnings too.
    """
    compiled = check(
        workflow,
        registry=registry,
        folders=folders,
        targets=targets,
        strict=strict,
        strict_lora=strict_lora,
        fill_defaults=fill_defaults,
        check_files=check_files,
    )
    if compiled.plan is None:
        raise WorkflowError(compiled.diagnostics)
    return compiled.plan


def check(
    workflow: Source,
    *,
    registry: Registry | None = None,
    folders: Folders | None = None,
    targets: Sequence[str] | None = None,
    strict: bool = False,
    strict_lora: bool = False,
    fill_defaults: bool = False,
    check_files: bool = True,
) -> Compiled:
    """As `compile`, but what is wrong comes back instead of being raised."""
    try:
        read = read_workflow(workflow)
    except WorkflowError as error:
        return Compiled(None, error.diagnostics)
    known = Registry.standard() if registry is None else registry
    places = Folders.standard() if folders is None else folders
    findings = Findings(read, strict, strict_lora)
    checker = Checker(read, known, places, findings, fill_defaults, check_files)
    return _Compilation(checker, targets).finish()


@dataclass(slots=True)
class _Compilation:
    """The passes over a workflow whose nodes are being checked."""

    checker: Checker
    wanted: Sequence[str] | None

    def finish(self) -> Compiled:
        drafts = self.checker.run()
        sources = {name: [wire.node for wire in draft.wires] for name, draft in drafts.items()}
        order = dependency_order(sources)
        if len(order) < len(sources):
            self._report_cycles(sources, order)
        outputs = [name for name, draft in drafts.items() if draft.spec.is_output]
        targets = self._targets(outputs)
        reach = Reach(self.checker.workflow, drafts, sources)
        needed = reach.of(targets)
        self._report_unused([*outputs, *targets], reach)
        for name in drafts:
            run_check_hook(drafts[name], drafts, self.checker.findings)
        planned = self._planned(name for name in order if drafts[name].sound)
        diagnostics = self.checker.findings.sorted(needed)
        if any(diagnostic.severity == "error" for diagnostic in diagnostics):
            return Compiled(None, diagnostics)
        running = running_order(targets, sources, [name for name in order if name in needed])
        return Compiled(self._plan({name: planned[name] for name in running}, targets, diagnostics), diagnostics)

    def _report_cycles(self, sources: Mapping[str, list[str]], order: list[str]) -> None:
        for cycle in cycles(sources, order):
            drafts = self.checker.drafts
            first = drafts[cycle[0]]
            first.sound = False
            back = next(wire.input for wire in first.wires if wire.node == cycle[1])
            path = " -> ".join(_in_short([f"{name} ({drafts[name].spec.name})" for name in cycle]))
            self.checker.findings.add(
                "dependency_cycle",
                f"Dependency cycle detected: {path}",
                first.node,
                input=back,
                expected="links that lead to no node twice",
                received=path,
                hint=f"link {back!r} of node {cycle[0]} to something else",
            )

    def _targets(self, outputs: list[str]) -> list[str]:
        workflow, findings = self.checker.workflow, self.checker.findings
        if self.wanted is not None and not self.wanted:
            findings.add("prompt_no_outputs", "Prompt has no outputs", hint="name at least one node to run")
        if self.wanted is not None:
            for name in self.wanted:
                if name not in workflow.nodes and name not in workflow.broken:
                    hint = did_you_mean(name, list(workflow.nodes))
                    findings.add("target_missing", f"There is no node {name!r} to run", hint=hint, received=name)
            return [name for name in dict.fromkeys(self.wanted) if name in self.checker.drafts]
        if not outputs and len(self.checker.drafts) == len(workflow.nodes) and not workflow.broken:
            findings.add(
                "prompt_no_outputs",
                "Prompt has no outputs",
                expected="at least one node that saves or shows something",
                received=f"{len(workflow.nodes)} nodes, none of them an output node",
                hint="add a SaveImage, or name the nodes to run with --target",
            )
        return outputs

    def _report_unused(self, roots: list[str], reach: Reach) -> None:
        if not roots:
            return
        used = reach.of(roots)
        for name, draft in self.checker.drafts.items():
            if name not in used:
                self.checker.findings.add(
                    "unused_node",
                    f"No output needs node {name} ({draft.spec.name}); it will not run",
                    draft.node,
                    severity="warning",
                    hint="link it to something that is saved, or remove it",
                )

    def _planned(self, order: Iterable[str]) -> dict[str, PlannedNode]:
        planned: dict[str, PlannedNode] = {}
        for name in order:
            draft = self.checker.drafts[name]
            if all(wire.node in planned for wire in draft.wires):
                facts = infer_facts(draft, planned, self.checker.findings, files=self.checker.check_files)
                planned[name] = _planned_node(draft, facts)
        return planned

    def _plan(self, nodes: dict[str, PlannedNode], targets: list[str], diagnostics: tuple[Diagnostic, ...]) -> Plan:
        merged, aliases = _merge(nodes)
        return Plan(
            workflow=self.checker.workflow,
            registry=self.checker.registry,
            folders=self.checker.folders,
            graph=_graph(merged),
            nodes=merged,
            targets=tuple(dict.fromkeys(aliases.get(name, name) for name in targets)),
            aliases=aliases,
            diagnostics=diagnostics,
            files_found=self.checker.check_files,
            _paths=tuple(dict.fromkeys(path for node in merged.values() for path in node.files)),
        )


def _in_short(way: list[str]) -> list[str]:
    """A way of many steps without those in its middle."""
    if len(way) <= LONGEST_WAY:
        return way
    return [*way[: LONGEST_WAY // 2], f"… {len(way) - LONGEST_WAY} more …", *way[-LONGEST_WAY // 2 :]]


def _planned_node(draft: Draft, facts: tuple[Facts, ...]) -> PlannedNode:
    node, spec = draft.node, draft.spec
    salt = canonical([node.id]) if spec.uses_node_id else b""
    seen = None if spec.fingerprint is None else hook_arguments(draft, spec.fingerprint)
    planned = PlannedNode(node.id, spec, draft.constants, tuple(draft.wires), salt, facts, node.title, seen)
    planned.salt = planned.current_salt()
    return planned


def _merge(nodes: dict[str, PlannedNode]) -> tuple[dict[str, PlannedNode], dict[str, str]]:
    """Keep one of each set of nodes that will return the same."""
    first: dict[object, str] = {}
    merged: dict[str, PlannedNode] = {}
    aliases: dict[str, str] = {}
    for name, planned in nodes.items():
        if aliases:
            planned.wires = tuple(Wire(w.input, aliases.get(w.node, w.node), w.slot, w.lazy) for w in planned.wires)
        identity = planned.identity()
        if identity is not None and (kept := first.setdefault(identity, name)) != name:
            aliases[name] = kept
        else:
            merged[name] = planned
    return merged, aliases


def _graph(nodes: Mapping[str, PlannedNode]) -> nx.DiGraph[str]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from((name, {"planned": planned}) for name, planned in nodes.items())
    for name, planned in nodes.items():
        by_source: dict[str, tuple[Wire, ...]] = {}
        for wire in planned.wires:
            by_source[wire.node] = (*by_source.get(wire.node, ()), wire)
        graph.add_edges_from((source, name, {"wires": wires}) for source, wires in by_source.items())
    nx.freeze(graph)  # pyright: ignore[reportUnknownMemberType]
    return graph
