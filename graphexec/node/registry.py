"""Which nodes there are: a value, made from modules and entry points."""

from __future__ import annotations

import difflib
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from graphexec.errors import NodeDefinitionError
from graphexec.node.decorator import NodeDefinition, definition_of
from graphexec.node.read import read_spec
from graphexec.node.spec import NodeSpec

ENTRY_POINTS = "graphexec.nodes"

ResourceFactory = Callable[[Mapping[str, str]], Any]


@dataclass(frozen=True, slots=True)
class Registry:
    """An immutable set of nodes, with the codecs and resources that come with them.

    Signatures are read when a node is first asked for, so that a large pack costs nothing until it is used.
    """

    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]])
    codecs: tuple[Any, ...] = ()
    resources: Mapping[str, ResourceFactory] = field(default_factory=dict[str, ResourceFactory])
    _specs: dict[str, NodeSpec] = field(default_factory=dict[str, NodeSpec], repr=False, compare=False)

    @classmethod
    def standard(cls) -> Registry:
        """The built-in nodes and every pack installed beside them (entry points `graphexec.nodes`)."""
        points = sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
        return cls().with_nodes(*(point.load() for point in points))

    def with_nodes(self, *modules: ModuleType) -> Registry:
        """This registry and the nodes of modules or packages; `CODECS` and `RESOURCES` of theirs come along.

        Raises NodeDefinitionError where two different functions claim one name.
        """
        functions, codecs, resources = dict(self.functions), self.codecs, dict(self.resources)
        for module in modules:
            for function, definition in _nodes_of(module):
                _claim(functions, definition, function)
            codecs += tuple(getattr(module, "CODECS", ()))
            resources.update(getattr(module, "RESOURCES", {}))
        return replace(self, functions=functions, codecs=codecs, resources=resources, _specs={})

    def __contains__(self, name: object) -> bool:
        return name in self.functions

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.functions))

    def __len__(self) -> int:
        return len(self.functions)

    def get(self, name: str) -> NodeSpec | None:
        """The node called `name`, or None."""
        spec = self._specs.get(name)
        if spec is None and (function := self.functions.get(name)) is not None:
            definition = definition_of(function)
            if definition is None:
                raise NodeDefinitionError(f"{name}: the function is not marked by @node")
            spec = self._specs[name] = read_spec(function, definition)
        return spec

    def __getitem__(self, name: str) -> NodeSpec:
        spec = self.get(name)
        if spec is None:
            raise KeyError(name)
        return spec

    def nearest(self, name: str, most: int = 3) -> list[str]:
        """Names that look like `name`, best first."""
        folded = {known.casefold(): known for known in self.functions}
        return [folded[hit] for hit in difflib.get_close_matches(name.casefold(), folded, n=most, cutoff=0.6)]


def _nodes_of(module: ModuleType) -> Iterator[tuple[Callable[..., Any], NodeDefinition]]:
    """Marked functions of a module, and of its submodules that it has imported."""
    pending, seen = [module], set[str]()
    while pending:
        current = pending.pop()
        seen.add(current.__name__)
        for value in list(vars(current).values()):
            if isinstance(value, ModuleType):
                if value.__name__.startswith(f"{module.__name__}.") and value.__name__ not in seen:
                    pending.append(value)
            elif (definition := definition_of(value)) is not None:
                yield value, definition


def _claim(functions: dict[str, Callable[..., Any]], definition: NodeDefinition, function: Callable[..., Any]) -> None:
    owner = functions.setdefault(definition.name, function)
    if owner is not function:
        raise NodeDefinitionError(
            f"two functions claim the node name {definition.name!r}: "
            f"{owner.__module__}.{owner.__qualname__} and {function.__module__}.{function.__qualname__}"
        )
