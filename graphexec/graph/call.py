"""One node's turn: gathers its arguments, calls it once for each item of its lists, and reads what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from graphexec.graph.boundary import Raised, attempt
from graphexec.graph.plan import PlannedNode
from graphexec.node.fields import Artifacts, Blocker, Expand
from graphexec.node.spec import NodeSpec

Outputs = tuple[list[Any], ...]
"""What a node returned: for each output slot the items of its list (one item where no list is involved)."""

BLOCKED = Blocker()


class Suspend(BaseException):
    """Leaves a node that called a lazy input whose value is not there yet; no Exception, so that nodes let it pass."""

    def __init__(self, source: str) -> None:
        self.source = source


class LazyBlocked(BaseException):
    """Leaves a node that called a lazy input whose value is blocked."""

    def __init__(self, blocker: Blocker) -> None:
        self.blocker = blocker


@dataclass(frozen=True, slots=True)
class Pending:
    """Holds the place of what an expansion will return."""

    call: int


@dataclass(slots=True)
class Collected:
    """What the calls of one node have returned so far."""

    spec: NodeSpec
    slots: list[list[Any]]
    artifacts: Artifacts = field(default_factory=Artifacts)
    expansions: dict[int, Expand[Any]] = field(default_factory=dict[int, Expand[Any]])
    """Call index -> expansion; `Pending` holds its place in the slots."""
    blocked: bool = False
    """Whether some output is blocked: such a result is not kept, so that a rerun tells why again."""

    @classmethod
    def empty(cls, spec: NodeSpec) -> Collected:
        return cls(spec, [[] for _ in spec.outputs])

    def add(self, call: int, returned: Any) -> Raised | None:
        """Take what one call returned; a result of the wrong shape is the node's error."""
        if isinstance(returned, Blocker):
            self.block(returned)
            return None
        if isinstance(returned, Expand):
            self.expansions[call] = cast("Expand[Any]", returned)
            for items in self.slots:
                items.append(Pending(call))
            return None
        if not self.spec.outputs and not self.spec.artifact_slots:
            return None
        return self._take((returned,) if self.spec.single else returned)

    def block(self, blocker: Blocker = BLOCKED) -> None:
        """Take a call that blocks every output, or that did not happen because a value was blocked."""
        self.blocked = True
        for items in self.slots:
            items.append(blocker)

    def _take(self, values: Any) -> Raised | None:
        wanted = len(self.spec.outputs) + len(self.spec.artifact_slots)
        if not isinstance(values, tuple) or len(cast("tuple[Any, ...]", values)) != wanted:
            return Raised(TypeError(f"{self.spec.name} returned {_shape(values)}, but declares {wanted} outputs"))
        slots = iter(zip(self.slots, self.spec.outputs, strict=True))
        for place, value in enumerate(cast("tuple[Any, ...]", values)):
            if place in self.spec.artifact_slots:
                self._take_artifacts(value)
                continue
            items, output = next(slots)
            if isinstance(value, Blocker):
                self.blocked = True
                items.append(value)
            elif not output.is_list:
                items.append(value)
            elif isinstance(value, list):
                items.extend(cast("list[Any]", value))
            else:
                return Raised(TypeError(f"{self.spec.name} returned no list for its output {output.name}"))
        return None

    def _take_artifacts(self, value: Any) -> None:
        if isinstance(value, Artifacts):
            self.artifacts = Artifacts(self.artifacts.files + value.files, self.artifacts.text + value.text)


@dataclass(slots=True)
class Arguments:
    """The arguments of every call of one node."""

    fixed: dict[str, Any]
    """What is the same in each call: hidden inputs, and lazy ones that are constants."""
    mapped: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    whole: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    """Inputs that take their list as it is."""
    lazy: dict[str, Callable[[int], Any]] = field(default_factory=dict[str, Callable[[int], Any]])

    def __len__(self) -> int:
        """How many calls: as many as the longest list has items, and none where a list is empty."""
        longest = 1
        for items in self.mapped.values():
            if not items:
                return 0
            longest = max(longest, len(items))
        return longest

    def of(self, call: int) -> dict[str, Any]:
        """The arguments of one call; a shorter list repeats its last item."""
        values = {name: items[min(call, len(items) - 1)] for name, items in self.mapped.items()}
        for name, value in self.lazy.items():
            values[name] = _bind(value, call)
        values.update(self.whole)
        values.update(self.fixed)
        return values

    def blocker(self, call: int) -> Blocker | None:
        """The first blocked value of a call."""
        for items in self.mapped.values():
            item = items[min(call, len(items) - 1)]
            if isinstance(item, Blocker):
                return item
        return first_blocker(item for items in self.whole.values() for item in items) if self.whole else None


def gather(
    planned: PlannedNode, values: Mapping[str, Outputs], hidden: dict[str, Any], need: Callable[[str], Outputs]
) -> Arguments:
    """The arguments of a node from the values of its sources.

    Args:
        planned: the node.
        values: outputs of the nodes that it is linked to.
        hidden: the parameters that the run supplies.
        need: the outputs of a lazy source, or Suspend.
    """
    inputs = planned.spec.inputs
    arguments = Arguments(hidden)
    for name, value in planned.constants.items():
        if inputs[name].lazy:
            arguments.fixed[name] = _constant(value)
        else:
            (arguments.whole if inputs[name].whole_list else arguments.mapped)[name] = [value]
    for name, source, slot, lazy in planned.wires:
        whole_list = inputs[name].whole_list
        if lazy:
            arguments.lazy[name] = _lazy(source, slot, need, whole_list=whole_list)
        else:
            (arguments.whole if whole_list else arguments.mapped)[name] = values[source][slot]
    return arguments


def call_all(spec: NodeSpec, arguments: Arguments, on_block: Callable[[Blocker], None]) -> Collected | Raised:
    """Call a node for each set of arguments; calls with a blocked value do not happen and yield blockers."""
    collected = Collected.empty(spec)
    for call in range(len(arguments)):
        blocker = arguments.blocker(call)
        if blocker is not None:
            on_block(blocker)
            collected.block()
            continue
        returned = attempt(spec.function, arguments.of(call))
        failure = returned if isinstance(returned, Raised) else collected.add(call, returned)
        if failure is not None:
            return failure
    return collected


def first_blocker(items: Iterable[Any]) -> Blocker | None:
    """The first blocked value among some."""
    return next((item for item in items if isinstance(item, Blocker)), None)


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


def _bind(value: Callable[[int], Any], call: int) -> Callable[[], Any]:
    return lambda: value(call)


def _lazy(source: str, slot: int, need: Callable[[str], Outputs], *, whole_list: bool) -> Callable[[int], Any]:
    def value(call: int) -> Any:
        items = need(source)[slot]
        taken = items if whole_list else [items[min(call, len(items) - 1)]]
        blocker = first_blocker(taken)
        if blocker is not None:
            raise LazyBlocked(blocker)
        return items if whole_list else taken[0]

    return value


def _shape(values: Any) -> str:
    if isinstance(values, tuple):
        return f"{len(cast('tuple[Any, ...]', values))} values"
    return f"a {type(values).__name__}"
