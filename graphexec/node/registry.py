"""Which nodes there are: a value, made from modules and entry points."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from graphexec.errors import NodeDefinitionError
from graphexec.node.boundary import Raised, attempt
from graphexec.node.decorator import definition_of
from graphexec.node.read import read_spec
from graphexec.node.spec import NodeSpec

ENTRY_POINTS = "graphexec.nodes"

ResourceFactory = Callable[[Mapping[str, str]], Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is whose module may not be imported yet."""

    node: str
    module: str

    def function(self) -> Callable[..., Any]:
        """The node's function. Raises NodeDefinitionError if its module cannot be imported or lacks it."""
        module = attempt(importlib.import_module, {"name": self.module})
        if isinstance(module, Raised):
            raise NodeDefinitionError(
                f"{self.node!r} is in {self.module}, which cannot be imported: {_told(module.error)}"
            ) from module.error
        for value in vars(module).values():
            if (definition := definition_of(value)) is not None and definition.name == self.node:
                return value
        raise NodeDefinitionError(f"{self.module} has no node {self.node!r}, though its pack's NODES says so")


@dataclass(frozen=True, slots=True)
class Registry:
    """An immutable set of nodes, with the codecs and resources that come with them.

    Signatures are read when a node is first asked for, and the modules of a pack that lists its `NODES` are imported
    then, so that a large pack costs nothing until it is used.
    """

    functions: Mapping[str, Callable[..., Any] | Place] = field(default_factory=dict[str, Callable[..., Any] | Place])
    resources: Mapping[str, ResourceFactory] = field(default_factory=dict[str, ResourceFactory])
    broken: Mapping[str, str] = field(default_factory=dict[str, str])
    """Installed packs that could not be loaded, and why; the others are there."""
    _packs: tuple[ModuleType, ...] = ()
    _versions: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """What of its pack enters the key of each node."""
    _specs: dict[str, NodeSpec] = field(default_factory=dict[str, NodeSpec], repr=False, compare=False)

    @classmethod
    def standard(cls) -> Registry:
        """The built-in nodes and every loadable pack installed beside them (entry points `graphexec.nodes`)."""
        points = sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
        registry = cls()
        for point in points:
            widened = attempt(registry._with_installed, {"point": point})
            if isinstance(widened, Raised):
                widened = replace(registry, broken={**registry.broken, point.name: _told(widened.error)}, _specs={})
            registry = widened
        return registry

    def with_nodes(self, *modules: ModuleType) -> Registry:
        """This registry and the nodes of modules or packages; `CODECS`, `RESOURCES` and `ABSENT` of theirs come along.

        A pack's `NODES` says which of its modules has which node; without it the nodes are looked for in the module
        and in those below it that it has imported. Its `RESULTS` is a number that changes when its nodes' results do.

        Raises NodeDefinitionError where two different functions claim one name, of a node or of a resource.
        """
        registry = self
        for module in modules:
            registry = registry._with_pack(module, version="")
        return registry

    def _with_installed(self, point: importlib.metadata.EntryPoint) -> Registry:
        return self._with_pack(point.load(), point.dist.version if point.dist is not None else "")

    def _with_pack(self, module: ModuleType, version: str) -> Registry:
        functions, versions, resources = dict(self.functions), dict(self._versions), dict(self.resources)
        for name, node in _nodes_of(module):
            _claim(functions, name, node)
            versions.setdefault(name, f"{version}:{getattr(module, 'RESULTS', '')}")
        for name, factory in getattr(module, "RESOURCES", {}).items():
            if resources.setdefault(name, factory) != factory:
                raise NodeDefinitionError(f"{module.__name__} claims the resource {name!r}, which another pack has")
        return replace(
            self,
            functions=functions,
            resources=resources,
            _packs=(*self._packs, module),
            _versions=versions,
            _specs={},
        )

    @property
    def codecs(self) -> tuple[Any, ...]:
        """How the values of the nodes' types become bytes: the `CODECS` of every pack."""
        return tuple(codec for pack in self._packs for codec in getattr(pack, "CODECS", ()))

    @property
    def absent(self) -> Mapping[str, str]:
        """Nodes that packs leave out on purpose, and why: the `ABSENT` of every pack."""
        return {name: why for pack in self._packs for name, why in getattr(pack, "ABSENT", {}).items()}

    def __contains__(self, name: object) -> bool:
        return name in self.functions

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.functions))

    def __len__(self) -> int:
        return len(self.functions)

    def get(self, name: str) -> NodeSpec | None:
        """The node called `name`, or None. Raises NodeDefinitionError for one that cannot be read."""
        spec = self._specs.get(name)
        if spec is None and (known := self.functions.get(name)) is not None:
            function = _loaded(known)
            definition = definition_of(function)
            if definition is None:
                raise NodeDefinitionError(f"{name}: the function is not marked by @node")
            spec = read_spec(function, definition)
            spec = self._specs[name] = replace(spec, version=f"{self._versions.get(name, '')}:{spec.version}")
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


def _nodes_of(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any] | Place]]:
    """The nodes of a pack by their names: as it lists them, or as they are found."""
    listed: Mapping[str, str] | None = getattr(module, "NODES", None)
    if listed is not None:
        return ((name, Place(name, where)) for name, where in listed.items())
    return _marked(module)


def _marked(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Marked functions of a module, and of its submodules that it has imported."""
    pending, seen = [module], set[str]()
    while pending:
        current = pending.pop()
        seen.add(current.__name__)
        for value in list(vars(current).values()):
            if issubclass(type(value), ModuleType):  # isinstance would ask a lazy object for its class
                if value.__name__.startswith(f"{module.__name__}.") and value.__name__ not in seen:
                    pending.append(value)
            elif (definition := definition_of(value)) is not None:
                yield definition.name, value


def _claim(functions: dict[str, Callable[..., Any] | Place], name: str, node: Callable[..., Any] | Place) -> None:
    owner = functions.setdefault(name, node)
    if owner == node:
        return
    first, second = _loaded(owner), _loaded(node)
    if first is not second:
        raise NodeDefinitionError(
            f"two functions claim the node name {name!r}: "
            f"{first.__module__}.{first.__qualname__} and {second.__module__}.{second.__qualname__}"
        )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _loaded(node: Callable[..., Any] | Place) -> Callable[..., Any]:
    return node.function() if isinstance(node, Place) else node
