"""What a run supplies to nodes besides their inputs: progress, warnings, shared resources, the workflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from graphexec.graph import events
from graphexec.graph.context import Context
from graphexec.graph.plan import Plan
from graphexec.node.boundary import Raised, attempt
from graphexec.node.fields import Blocker, Graph, WorkflowInfo
from graphexec.node.spec import Hidden, NodeSpec


@runtime_checkable
class Heeding(Protocol):
    """A resource that one run at a time uses; the others wait, and may be asked to stop meanwhile."""

    def heeding(self, check: Callable[[], None], /) -> Any:
        """The resource for one run: it calls `check`, which raises Cancelled, while that run waits."""
        ...


@dataclass(slots=True)
class Supply:
    """The hidden inputs of one run's nodes, and the blocks that were told."""

    context: Context
    plan: Plan
    _info: WorkflowInfo | None = None
    _told: dict[int, Blocker] = field(default_factory=dict[int, Blocker])
    """By identity: two nodes may block for the same reason."""

    def hidden(self, shown: str, spec: NodeSpec) -> dict[str, Any] | Raised:
        """The parameters of a node that the run supplies, or why a resource cannot be made."""
        supplied: dict[str, Any] = {}
        for parameter, hidden in spec.hidden.items():
            value = supplied[parameter] = self._one(shown, hidden)
            if isinstance(value, Raised):
                return value
        return supplied

    def on_block(self, shown: str) -> Callable[[Blocker], None]:
        """Tells once of each block that has a message."""

        def report(blocker: Blocker) -> None:
            if blocker.message is not None and id(blocker) not in self._told:
                self._told[id(blocker)] = blocker
                self.context.on_event(events.Blocked(shown, blocker.message))

        return report

    def _one(self, shown: str, hidden: Hidden) -> Any:
        match hidden.kind:
            case "node_id":
                return shown
            case "progress":
                return self._progress(shown)
            case "warn":
                return self._warn(shown)
            case "workflow":
                workflow = self.plan.workflow
                self._info = self._info or WorkflowInfo(workflow.prompt, workflow.extra_pnginfo)
                return self._info
            case "graph":
                return Graph()
            case "resource":
                return attempt(self._resource, {"name": hidden.resource})

    def _resource(self, name: str) -> Any:
        made = self.context.resources.get(name, self.plan.registry.resources, self.context.settings)
        return made.heeding(self.context.cancel.check) if isinstance(made, Heeding) else made

    def _progress(self, shown: str) -> Callable[[int, int], None]:
        context = self.context

        def progress(done: int, total: int, /) -> None:
            context.cancel.check()
            context.on_event(events.Progressed(shown, done, total))

        return progress

    def _warn(self, shown: str) -> Callable[[str], None]:
        said = {diagnostic.message for diagnostic in self.plan.diagnostics if diagnostic.node == shown}

        def warn(message: str, /) -> None:
            if message not in said:  # the compiler has said it already
                self.context.on_event(events.Warned(shown, message))

        return warn
