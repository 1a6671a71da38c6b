"""Node expansion: a node returns a graph, which takes its place in the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphexec.errors import GraphexecError
from graphexec.graph.boundary import Raised
from graphexec.graph.call import Collected, Outputs, Pending
from graphexec.graph.digests import FileDigests
from graphexec.graph.folders import Folders
from graphexec.graph.plan import Plan, PlannedNode, Wire
from graphexec.graph.topology import dependency_order
from graphexec.graph.values import check_value, did_you_mean
from graphexec.graph.wires import compatible
from graphexec.node.fields import Expand, Output
from graphexec.node.registry import Registry
from graphexec.node.spec import InputSpec, NodeSpec


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
    def has_output(self) -> bool:
        return any(node.spec.is_output for node in self.nodes)

    def digests(self, digests: FileDigests) -> dict[Path, bytes]:
        """The content of the model files that the nodes inside read."""
        return {path: digests.digest(path) for node in self.nodes for path in node.files}

    def collect(self, values: Mapping[str, Outputs]) -> Collected:
        """The expanding node's own outputs, once the nodes inside are done."""
        for slot, items in enumerate(self.collected.slots):
            filled: list[Any] = []
            for item in items:
                filled.extend(self._items(item.call, slot, values) if isinstance(item, Pending) else [item])
            items[:] = filled
        self.collected.expansions = {}
        return self.collected

    def _items(self, call: int, slot: int, values: Mapping[str, Outputs]) -> list[Any]:
        item = self.results[call][slot]
        return values[item.node][item.slot] if isinstance(item, Output) else [item]


def expand_node(
    parent: PlannedNode, collected: Collected, values: Mapping[str, Outputs], plan: Plan, number: int
) -> Expansion | Raised:
    """Plan the graphs that a node's calls returned; faults in them are the node's own.

    Args:
        parent: the node that expanded.
        collected: what its calls returned.
        values: outputs of its sources, to know a value handed through for what it is.
        plan: the plan it belongs to.
        number: makes the ids of the new nodes unique in the run.
    """
    links = {
        id(items[0]): Wire("", wire.node, wire.slot, lazy=False)
        for wire in parent.wires
        if not wire.lazy and len(items := values[wire.node][wire.slot]) == 1
    }
    nodes: list[PlannedNode] = []
    results: dict[int, tuple[Any, ...]] = {}
    try:
        for call, expansion in collected.expansions.items():
            prefix = f"{parent.id.split(chr(0), 1)[0]}\0{number}.{call}."
            builder = _Builder(prefix, expansion, plan.registry, plan.folders, links)
            nodes += builder.nodes()
            results[call] = builder.result(parent.spec)
    except GraphexecError as error:
        return Raised(error)
    return Expansion(nodes, collected, results)


@dataclass(slots=True)
class _Builder:
    prefix: str
    expansion: Expand[Any]
    registry: Registry
    folders: Folders
    links: Mapping[int, Wire]

    def nodes(self) -> Iterator[PlannedNode]:
        """The nodes of the graph, sources first."""
        graph = self.expansion.graph.nodes
        planned = {name: self._node(name, class_type, inputs) for name, (class_type, inputs) in graph.items()}
        own = {self.prefix + name: name for name in graph}
        sources = {name: [own[wire.node] for wire in node.wires if wire.node in own] for name, node in planned.items()}
        order = dependency_order(sources)
        if len(order) < len(planned):
            raise ExpansionError(f"the expansion has a cycle among {', '.join(set(planned) - set(order))}")
        return iter([planned[name] for name in order])

    def result(self, spec: NodeSpec) -> tuple[Any, ...]:
        """The expanding node's outputs, with places inside under their ids in the run."""
        result = self.expansion.result
        if len(result) != len(spec.outputs):
            raise ExpansionError(f"{spec.name} expanded to {len(result)} results, but declares {len(spec.outputs)}")
        return tuple(self._place(item) if isinstance(item, Output) else item for item in result)

    def _node(self, name: str, class_type: str, inputs: Mapping[str, Any]) -> PlannedNode:
        spec = self._spec(class_type)
        unknown = [key for key in inputs if key not in spec.inputs]
        if unknown:
            raise ExpansionError(f"{class_type} in the expansion has no input {unknown[0]!r}")
        constants: dict[str, Any] = {}
        wires: list[Wire] = []
        for declared in spec.inputs.values():
            self._input(spec, declared, inputs, constants, wires)
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
        if declared.name not in inputs:
            if not declared.optional and not declared.has_default:
                raise ExpansionError(f"{where} is missing: {declared.expectation()}")
            return
        value = inputs[declared.name]
        if isinstance(value, Output):
            wires.append(self._link(where, declared, value))
        elif id(value) in self.links and not isinstance(value, bool | int | float | str | None):
            known = self.links[id(value)]
            wires.append(Wire(declared.name, known.node, known.slot, declared.lazy))
        else:
            constants[declared.name] = self._constant(where, declared, value)

    def _link(self, where: str, declared: InputSpec, value: Output) -> Wire:
        if value.node not in self.expansion.graph.nodes:
            raise ExpansionError(f"{where} is linked to {value.node!r}, which is not in the expansion")
        outputs = self._spec(self.expansion.graph.nodes[value.node][0]).outputs
        if not 0 <= value.slot < len(outputs):
            raise ExpansionError(f"{where} is linked to output {value.slot}; there are {len(outputs)}")
        if not compatible(outputs[value.slot].wire, declared.wire):
            raise ExpansionError(f"{where} takes {declared.wire}, not {outputs[value.slot].wire}")
        return Wire(declared.name, self.prefix + value.node, value.slot, declared.lazy)

    def _constant(self, where: str, declared: InputSpec, value: Any) -> Any:
        if declared.folder is not None and isinstance(value, str):
            return self.folders.resolve(declared.folder.kind, value)
        if not declared.widget:
            return value
        checked = check_value(declared, value)
        if not checked.valid:
            raise ExpansionError(f"{where}: {checked.problems[0].message}")
        return checked.value

    def _place(self, output: Output) -> Output:
        if output.node not in self.expansion.graph.nodes:
            raise ExpansionError(f"a result names {output.node!r}, which is not in the expansion")
        return Output(self.prefix + output.node, output.slot)
