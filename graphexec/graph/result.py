"""What came of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphexec.errors import NodeError, ResultError
from graphexec.graph.call import Outputs


@dataclass(frozen=True, slots=True)
class Result:
    """What a run left behind, by the ids of the workflow."""

    outputs: Mapping[str, Outputs]
    """For each target: output slot -> the items of its list. These four know merged nodes by each of their ids."""
    files: Mapping[str, tuple[Path, ...]]
    texts: Mapping[str, tuple[str, ...]]
    failures: Mapping[str, NodeError]
    executed: tuple[str, ...]
    cached: tuple[str, ...]
    skipped: tuple[str, ...]
    _because: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Skipped nodes, and the node that is why: it failed, or blocked a value."""

    @property
    def ok(self) -> bool:
        """Whether no node failed."""
        return not self.failures

    def value(self, node: str, slot: int = 0) -> Any:
        """The single value of an output.

        Raises ResultError where there is none, and NodeError: the node's own, or that of a source.
        """
        failed = self._because.get(node, node)
        if failed in self.failures:
            raise self.failures[failed]
        if node not in self.outputs:
            raise ResultError(f"node {node} left no outputs; these targets did: {', '.join(self.outputs) or 'none'}")
        slots = self.outputs[node]
        if slot not in range(len(slots)):
            raise ResultError(f"node {node} has no output {slot}; it has {len(slots)}, counted from 0")
        items = slots[slot]
        if len(items) != 1:
            raise ResultError(f"output {slot} of node {node} is a list of {len(items)}; read `outputs` instead")
        return items[0]
