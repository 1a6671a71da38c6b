"""Node expansion: a node returns a graph, which takes its place in the run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphexec.errors import GraphexecError
from graphexec.graph.call import Collected, Outputs, Pending, first_blocker
from graphexec.graph.folders import Folders
from graphexec.graph.mentions import mentioned_files
from graphexec.graph.plan import Plan, PlannedNode, Wire
from graphexec.graph.topology import dependency_order
from graphexec.graph.values import check_value, did_you_mean
from graphexec.graph.wires import compatible
from graphexec.node.boundary import Raised, attempt
from graphexec.node.fields import Expand, Output
from graphexec.node.registry import Registry
from graphexec.node.spec import InputSpec, NodeSpec, OutputSpec


class ExpansionError(GraphexecError):
    """The graph that a node expanded to cannot run."""


@dataclass(slots=True)
class Expansion:
    """The nodes that one node expanded to, and how its own outputs follow from theirs."""

    nodes: list[PlannedNode]
    collected: Collected
    results: dict[int, tuple[Any, ...]]
    """Call index -> for each output slot a value, or the place inside that stands for it."""

    @property
    def sources(self) -> list[str]:
        """The nodes inside that must be done first: those that stand for results, and output nodes."""
        linked = [item.node for result in self.results.values() for item in result if isinstance(item, Output)]
        return list(dict.fromkeys(linked + [node.id for node in self.nodes if node.spec.is_output]))

    @property
    def is_open(self) -> bool:
        """Whether more than the expanding node's own key decides what the nodes inside return or do."""
        return any(node.spec.is_output or node.salt is None or node.files for node in self.nodes)

    def key(self, own: bytes, keys: Mapping[str, bytes | None]) -> bytes | None:
        """What decides the outputs of an open expansion: the node's own key, and those of the nodes inside."""
        parts = [own]
        for call, result in self.results.items():
            for place in (item for item in result if isinstance(item, Output)):
                key = keys[place.node]
                if key is None:
                    return None
                parts += [b"%d.%d." % (call, place.slot), key]
        return hashlib.sha256(b"".join(parts)).digest()

    def collect(self, values: Mapping[str, Outputs]) -> Collected | Raised:
        """The expanding node's own outputs, once the nodes inside are done."""
        collected = Collected.empty(self.collected.spec)
        collected.artifacts = self.collected.artifacts
        collected.blocked = self.collected.blocked
        for slot, (items, output) in enumerate(zip(collected.slots, collected.spec.outputs, strict=True)):
            for item in self.collected.slots[slot]:
                given = self.results[item.call][slot] if isinstance(item, Pending) else item
                if isinstance(given, Output):
                    items.extend(values[given.node][given.slot])
                elif given is item:
                    items.append(given)
                elif (failure := collected.fill(items, output, given)) is not None:
                    return failure
            collected.blocked = collected.blocked or first_blocker(items) is not None
        return collected


def expand_node(
    parent: PlannedNode, collected: Collected, values: Mapping[str, Outputs], plan: Plan, prefix: str
) -> Expansion | Raised:
    """Plan the graphs that a node's calls returned; faults in them are the node's own.

    Args:
        parent: the node that expanded.
        collected: what its calls returned.
        values: outputs of its sources, to know a value handed through for what it is.
        plan: the plan it belongs to.
        prefix: makes the ids of the new nodes unique in the run.
    """
    links = {
        id(items[0]): Wire("", wire.node, wire.slot, lazy=False)
        for wire in parent.wires
        if not wire.lazy and len(items := values[wire.node][wire.slot]) == 1
    }
    nodes: list[PlannedNode] = []
    results: dict[int, tuple[Any, ...]] = {}
    for call, expansion in collected.expansions.items():
        builder = _Builder(f"{prefix}{call}.", expansion, plan.registry, plan.folders, links)
        built = attempt(builder.build, {"spec": parent.spec})  # the node's own values may raise when compared
        if isinstance(built, Raised):
            return built
        nodes += built[0]
        results[call] = built[1]
    return Expansion(nodes, collected, results)


@dataclass(slots=True)
class _Builder:
    prefix: str
    expansion: Expand[Any]
    registry: Registry
    folders: Folders
    links: Mapping[int, Wire]

    def build(self, spec: NodeSpec) -> tuple[list[PlannedNode], tuple[Any, ...]]:
        """The nodes of the graph, sources first, and the outputs of the node of this spec, which expanded to it."""
        return self._nodes(), self._result(spec)

    def _nodes(self) -> list[PlannedNode]:
        graph = self.expansion.graph.nodes
        planned = {name: self._node(name, class_type, inputs) for name, (class_type, inputs) in graph.items()}
        own = {self.prefix + name: name for name in graph}
        sources = {name: [own[wire.node] for wire in node.wires if wire.node in own] for name, node in planned.items()}
        order = dependency_order(sources)
        if len(order) < len(planned):
            raise ExpansionError(f"the expansion has a cycle among {', '.join(sorted(planned.keys() - set(order)))}")
        return [planned[name] for name in order]

    def _result(self, spec: NodeSpec) -> tuple[Any, ...]:
        """The expanding node's outputs, with places inside under their ids in the run."""
        result = self.expansion.result
        if len(result) != len(spec.outputs):
            raise ExpansionError(f"{spec.name} expanded to {len(result)} results, but declares {len(spec.outputs)}")
        return tuple(
            self._place(item, output) if isinstance(item, Output) else item
            for item, output in zip(result, spec.outputs, strict=True)
        )

    def _node(self, name: str, class_type: str, inputs: Mapping[str, Any]) -> PlannedNode:
        spec = self._spec(class_type)
        unknown = [key for key in inputs if key not in spec.inputs]
        if unknown:
            raise ExpansionError(f"{class_type} in the expansion has no input {unknown[0]!r}")
        constants: dict[str, Any] = {}
        wires: list[Wire] = []
        for declared in spec.inputs.values():
            self._input(spec, declared, inputs, constants, wires)
        linked = {wire.input for wire in wires}
        constants |= mentioned_files(spec, constants, linked, self.folders)  # the node itself tells of missing ones
        salt = b"" if spec.fingerprint is None and not spec.uses_node_id else None
        return PlannedNode(self.prefix + name, spec, constants, tuple(wires), salt)

    def _spec(self, class_type: str) -> NodeSpec:
        spec = self.registry.get(class_type)
        if spec is None:
            hint = did_you_mean(class_type, list(self.registry)) or "it is in no installed pack"
            raise ExpansionError(f"the expansion names the node type {class_type!r}: {hint}")
        return spec

    def _input(
        self,
        spec: NodeSpec,
        declared: InputSpec,
        inputs: Mapping[str, Any],
        constants: dict[str, Any],
        wires: list[Wire],
    ) -> None:
        where = f"{spec.name}.{declared.name} in the expansion"
        value = inputs.get(declared.name)
        if value is None and (declared.optional or (declared.name not in inputs and declared.has_default)):
            if not declared.has_default:
                constants[declared.name] = None
            return
        if declared.name not in inputs:
            raise ExpansionError(f"{where} is missing: {declared.expectation()}")
        if isinstance(value, Output):
            wires.append(self._link(where, declared, value))
        elif id(value) in self.links and not isinstance(value, bool | int | float | str | None):
            known = self.links[id(value)]
            wires.append(Wire(declared.name, known.node, known.slot, declared.lazy))
        else:
            constants[declared.name] = self._constant(where, declared, value)

    def _link(self, where: str, declared: InputSpec, value: Output) -> Wire:
        self._check_place(where, declared.wire, value)
        return Wire(declared.name, self.prefix + value.node, value.slot, declared.lazy)

    def _check_place(self, where: str, wire: str, value: Output) -> None:
        if value.node not in self.expansion.graph.nodes:
            raise ExpansionError(f"{where} is linked to {value.node!r}, which is not in the expansion")
        outputs = self._spec(self.expansion.graph.nodes[value.node][0]).outputs
        if not 0 <= value.slot < len(outputs):
            raise ExpansionError(f"{where} is linked to output {value.slot}; there are {len(outputs)}")
        if not compatible(outputs[value.slot].wire, wire):
            raise ExpansionError(f"{where} takes {wire}, not {outputs[value.slot].wire}")

    def _constant(self, where: str, declared: InputSpec, value: Any) -> Any:
        folder = declared.folder
        if folder is not None and isinstance(value, str):
            return Path(value) if value in folder.choices else self.folders.resolve(folder.kind, value)
        if not declared.widget or (folder is not None and isinstance(value, Path)):
            return value
        checked = check_value(declared, value)
        if not checked.valid:
            raise ExpansionError(f"{where}: {checked.problems[0].message}")
        return checked.value

    def _place(self, place: Output, output: OutputSpec) -> Output:
        self._check_place(f"the result {output.name} of the expansion", output.wire, place)
        return Output(self.prefix + place.node, place.slot)
