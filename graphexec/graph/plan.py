"""The compiled workflow: what will run, on what, in which order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from graphexec.errors import Diagnostic
from graphexec.graph.keys import Unhashable, canonical, node_key
from graphexec.node.boundary import Raised, attempt
from graphexec.node.fields import Facts
from graphexec.node.spec import NodeSpec

if TYPE_CHECKING:
    import networkx as nx

    from graphexec.graph.folders import Folders
    from graphexec.graph.workflow import Workflow
    from graphexec.node.registry import Registry

T = TypeVar("T")


class Wire(NamedTuple):
    """An input fed by an output slot of another node."""

    input: str
    node: str
    slot: int
    lazy: bool


@dataclass(slots=True)
class PlannedNode:
    """A node ready to run: its values converted, its files found, its links known to fit."""

    id: str
    spec: NodeSpec
    constants: dict[str, Any]
    wires: tuple[Wire, ...]
    salt: bytes | None = b""
    """What else decides the result (fingerprint, id); None if nothing can tell, so it always runs."""
    facts: tuple[Facts, ...] = ()
    title: str | None = None
    seen: Mapping[str, Any] | None = None
    """What its fingerprint hook sees, if it has one."""

    def current_salt(self) -> bytes | None:
        """Its salt as of now: what its fingerprint reads may have changed since the plan was made."""
        hook = self.spec.fingerprint
        if hook is None or self.seen is None:
            return self.salt
        value = attempt(hook.function, self.seen)
        if isinstance(value, Raised) or (isinstance(value, float) and math.isnan(value)):  # NaN: it always runs
            return None
        try:
            return canonical([self.id, value] if self.spec.uses_node_id else [value])
        except Unhashable:
            return None

    @property
    def files(self) -> list[Path]:
        """The model files that it reads."""
        named = [path for name in self.constants for path in self._files_of(name)]
        return named + [path for name in self.spec.mentioned for path in self.constants[name].values()]

    def _files_of(self, name: str) -> tuple[Path, ...]:
        """The file that a constant is, and those that are read with it."""
        value = self.constants[name]
        if not (isinstance(value, Path) and value.is_absolute()):
            return ()
        given = self.spec.inputs.get(name)
        beside = given.folder.beside if given is not None and given.folder is not None else None
        if beside is None:
            return (value,)
        found = attempt(partial(beside, value), {})
        unknown = (value / "unknown",)  # below a file there is none: without its digest nothing is kept
        return (value, *(unknown if isinstance(found, Raised) else found))

    def identity(self) -> object | None:
        """Equal for two nodes of one plan that will return the same; None if nothing can tell."""
        if self.salt is None:
            return None
        parts: list[object] = [self.spec.name, self.salt, self.wires]
        try:
            for name, value in self.constants.items():
                parts += (name, canonical(value))
        except Unhashable:
            return None
        return tuple(parts)

    def key(
        self, keys: Mapping[str, bytes | None], digests: Mapping[Path, bytes], settings: bytes = b""
    ) -> bytes | None:
        """Its cache key, from those of the nodes it is linked to; None if it cannot be cached.

        A file without a digest could not be read, so nothing can be said of what the node will find there. `settings`
        enter where the node, or what it expands to, uses a resource: two devices do not round alike.
        """
        salt = self.current_salt()
        if salt is None or not digests.keys() >= set(self.files):
            return None
        salt += settings if self.spec.uses_resource or self.spec.expands else b""
        try:
            constants = [
                (name, canonical(files if len(files := self._files_of(name)) > 1 else value, digests))
                for name, value in self.constants.items()
            ]
        except Unhashable:
            return None
        links: list[tuple[str, bytes, int]] = []
        for wire in self.wires:
            key = keys[wire.node]
            if key is None:
                return None
            links.append((wire.input, key, wire.slot))
        return node_key(self.spec, constants, links, salt)


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked workflow. Immutable: any number of runs, at once too, may share it."""

    workflow: Workflow
    registry: Registry
    folders: Folders
    graph: nx.DiGraph[str]
    """Frozen; nodes carry `planned`, edges carry `wires`: a tuple of `Wire`."""
    nodes: Mapping[str, PlannedNode]
    """In running order: what the targets need, identical nodes merged."""
    targets: tuple[str, ...]
    aliases: Mapping[str, str]
    """Ids of merged nodes, and the node that stands for each."""
    diagnostics: tuple[Diagnostic, ...] = ()
    """Warnings: a plan has no errors."""
    files_found: bool = True
    """Whether model files were looked for; if not, names stand in their places and nothing can run."""
    _paths: tuple[Path, ...] = field(default=(), repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every model file that the plan reads."""
        return self._paths

    def keys(self, digests: Mapping[Path, bytes], settings: bytes = b"") -> dict[str, bytes | None]:
        """The cache key of every node, given the content of its files; in the order in which they run."""
        keys: dict[str, bytes | None] = {}
        for name, planned in self.nodes.items():
            keys[name] = planned.key(keys, digests, settings)
        return keys

    def resolve(self, name: str) -> str:
        """The id of the node that stands for `name` after merging."""
        return self.aliases.get(name, name)


def by_each_id(found: Mapping[str, T], aliases: Mapping[str, str]) -> dict[str, T]:
    """What was found of nodes, known by the ids of merged nodes too, which are a plan's `aliases`."""
    merged = {other: found[kept] for other, kept in aliases.items() if kept in found}
    return {**found, **merged}
