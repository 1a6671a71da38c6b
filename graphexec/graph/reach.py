"""What nodes need, as far as the links of a workflow that may be broken tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from graphexec.graph.check import Draft
from graphexec.graph.topology import ancestors
from graphexec.graph.workflow import Link, Workflow, input_value


class Reach:
    """The links of a workflow, those of nodes that cannot run included."""

    def __init__(self, workflow: Workflow, drafts: Mapping[str, Draft], wired: Mapping[str, Sequence[str]]) -> None:
        """Args: the workflow, its nodes of known class, and the sources of each that were found."""
        self._workflow = workflow
        self._drafts = drafts
        self._unusable = [*(name for name in workflow.nodes if name not in drafts), *workflow.broken]
        self._links = self._raw_links() if self._unusable else wired

    def of(self, roots: Iterable[str]) -> set[str]:
        """The roots and all that they need, or may need: a node that cannot run is in use, and needs its sources.

        Where a link is torn, nobody knows what it should lead to, so that may be any node that leads nowhere.
        """
        found = ancestors([*roots, *self._unusable], self._links)
        if any(self._is_torn(name) for name in found):
            found |= ancestors(self._loose(), self._links)
        return found

    def _raw_links(self) -> Mapping[str, Sequence[str]]:
        workflow, drafts = self._workflow, self._drafts
        given = {
            name: [node.inputs.get(each) for each in drafts[name].spec.inputs]
            if name in drafts
            else node.inputs.values()
            for name, node in workflow.nodes.items()
        } | {name: _values(workflow.prompt.get(name)) for name in workflow.broken}
        return {
            name: [value.node for value in values if isinstance(value, Link) and value.node in given]
            for name, values in given.items()
        }

    def _is_torn(self, name: str) -> bool:
        node, draft = self._workflow.nodes.get(name), self._drafts.get(name)
        if node is None:  # so malformed that its links may be lost
            return True
        if draft is None:
            return any(isinstance(value, Link) and value.node not in self._links for value in node.inputs.values())
        return not draft.sound and any(self._lacks(draft, each) for each in draft.spec.inputs)

    def _lacks(self, draft: Draft, name: str) -> bool:
        """Whether an input has no source that it should have."""
        spec, value = draft.spec.inputs[name], draft.node.inputs.get(name)
        if isinstance(value, Link):
            return value.node not in self._links
        unread = (draft.node.id, name) in self._workflow.faulty
        return unread or not (spec.widget or (spec.optional and value is None))

    def _loose(self) -> list[str]:
        used = {source for sources in self._links.values() for source in sources}
        return [name for name, draft in self._drafts.items() if name not in used and not draft.spec.is_output]


def _values(raw: Any) -> Iterator[Any]:
    """The inputs of a malformed node that can be read."""
    inputs = cast("dict[str, Any]", raw).get("inputs") if isinstance(raw, dict) else None
    for value in cast("dict[str, Any]", inputs).values() if isinstance(inputs, dict) else ():
        try:
            yield input_value(value)
        except ValueError:
            continue
