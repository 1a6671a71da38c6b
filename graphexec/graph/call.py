"""One node's turn: gathers its arguments, calls it once for each item of its lists, and reads what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from graphexec.errors import InputError
from graphexec.graph.plan import PlannedNode
from graphexec.graph.values import check_linked
from graphexec.node.boundary import Raised, attempt
from graphexec.node.fields import Artifacts, Blocker, Expand, Graph
from graphexec.node.spec import InputSpec, NodeSpec, OutputSpec

Outputs = tuple[list[Any], ...]
"""What a node returned: for each output slot the items of its list (one item where no list is involved)."""

BLOCKED = Blocker()


class Suspend(BaseException):
    """Leaves a node that called a lazy input whose value is not there yet; no Exception, so that nodes let it pass."""

    def __init__(self, source: str) -> None:
        self.source = source


class Unanswered(BaseException):
    """Leaves one call of a node that called a lazy input whose value is blocked, or is no item of an empty list."""

    def __init__(self, blocker: Blocker | None) -> None:
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
    done: int = 0
    """How many calls are over; a node that waited for a lazy input goes on from here."""

    @classmethod
    def empty(cls, spec: NodeSpec) -> Collected:
        return cls(spec, [[] for _ in spec.outputs])

    def add(self, call: int, returned: Any) -> Raised | None:
        """Take what one call returned; a result of the wrong shape is the node's error."""
        if isinstance(returned, Blocker):
            self.block(returned)
            return None
        if isinstance(returned, Expand):
            if not self.spec.expands:
                return Raised(TypeError(f"{self.spec.name} returned an Expand, but does not declare Expand[...]"))
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
            taken = self._take_artifacts(value) if place in self.spec.artifact_slots else self.fill(*next(slots), value)
            if taken is not None:
                return taken
        return None

    def fill(self, items: list[Any], output: OutputSpec, value: Any) -> Raised | None:
        """Take a value for one output slot: the items of a list where the node declares one."""
        if isinstance(value, Blocker):
            self.blocked = True
            items.append(value)
        elif not output.is_list:
            items.append(value)
        elif isinstance(value, list):
            listed = cast("list[Any]", value)
            self.blocked = self.blocked or first_blocker(listed) is not None
            items.extend(listed)
        else:
            return Raised(TypeError(f"{self.spec.name} returned no list for its output {output.name}"))
        return None

    def _take_artifacts(self, value: Any) -> Raised | None:
        if isinstance(value, Blocker):
            self.blocked = True
        elif isinstance(value, Artifacts):
            files = tuple(replace(file, place=place) for place, file in enumerate(value.files))
            self.artifacts = Artifacts(self.artifacts.files + files, self.artifacts.text + value.text)
        else:
            return Raised(TypeError(f"{self.spec.name} returned {_shape(value)} where it declares Artifacts"))
        return None


@dataclass(slots=True)
class Arguments:
    """The arguments of every call of one node."""

    fixed: dict[str, Any] = field(default_factory=dict[str, Any])
    """What is the same in each call: hidden inputs, and lazy ones that are constants."""
    mapped: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    whole: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    """Inputs that take their list as it is."""
    lazy: dict[str, Callable[[int], Any]] = field(default_factory=dict[str, Callable[[int], Any]])
    ranges: tuple[InputSpec, ...] = ()
    """Linked inputs that do not take every number."""
    graphs: tuple[str, ...] = ()
    """Parameters that get a graph of their own in each call."""
    calls: int = 1
    """As many as the longest list has items, and none where a list is empty; a lazy list counts once it is called."""

    def count(self) -> None:
        """Count the calls from the lists that are there."""
        lengths = [len(items) for items in self.mapped.values()]
        self.calls = 0 if 0 in lengths else max(lengths, default=1)

    def of(self, call: int) -> dict[str, Any]:
        """The arguments of one call; a shorter list repeats its last item.

        Raises InputError for a number that its input does not take.
        """
        values = {name: items[min(call, len(items) - 1)] for name, items in self.mapped.items()}
        for name, items in self.whole.items():
            values[name] = items.copy()  # what a node does to its list is nobody else's business
        for spec in self.ranges:
            if spec.parameter in values:
                _need_range(spec, values[spec.parameter])
        for name, value in self.lazy.items():
            values[name] = _bind(value, call)
        values.update(self.fixed)
        for name in self.graphs:
            values[name] = Graph()
        return values

    @property
    def blocked(self) -> bool:
        """Whether a blocked value keeps every call from happening; lazy inputs tell only once they are called."""
        return self.calls > 0 and all(self.blocker(call) is not None for call in range(self.calls))

    def blocker(self, call: int) -> Blocker | None:
        """The first blocked value of a call."""
        for items in self.mapped.values():
            item = items[min(call, len(items) - 1)]
            if isinstance(item, Blocker):
                return item
        return first_blocker(item for items in self.whole.values() for item in items) if self.whole else None

    def lazily(self, spec: InputSpec, source: str, slot: int, need: Callable[[str], Outputs]) -> Callable[..., Any]:
        """What a lazy input is: given the call, its value, or Suspend, or Unanswered, or InputError."""
        whole_list = spec.whole_list

        def value(call: int) -> Any:
            items = need(source)[slot]
            if not whole_list:
                self.calls = max(self.calls, len(items))
            taken = items if whole_list else items[call : call + 1] or items[-1:]
            blocker = first_blocker(taken)
            if blocker is not None or not (taken or whole_list):
                raise Unanswered(blocker)
            found = items.copy() if whole_list else taken[0]
            if spec in self.ranges:
                _need_range(spec, found)
            return found

        return value


def gather(planned: PlannedNode, values: Mapping[str, Outputs], need: Callable[[str], Outputs]) -> Arguments:
    """The arguments of a node from the values of its sources; `fixed` has not yet what the run supplies.

    Args:
        planned: the node.
        values: outputs of the nodes that it is linked to.
        need: the outputs of a lazy source, or Suspend.
    """
    spec = planned.spec
    inputs = spec.inputs
    arguments = Arguments()
    for name, value in planned.constants.items():
        if name in spec.mentioned:
            arguments.fixed[name] = value
            continue
        parameter = inputs[name].parameter
        if inputs[name].lazy:
            arguments.fixed[parameter] = [value].copy if inputs[name].whole_list else _constant(value)
        else:
            (arguments.whole if inputs[name].whole_list else arguments.mapped)[parameter] = [value]
    for name, source, slot, lazy in planned.wires:
        parameter, whole_list = inputs[name].parameter, inputs[name].whole_list
        if lazy:
            arguments.lazy[parameter] = arguments.lazily(inputs[name], source, slot, need)
        else:
            (arguments.whole if whole_list else arguments.mapped)[parameter] = values[source][slot]
    linked = [inputs[wire.input] for wire in planned.wires if wire.input not in spec.checked_inputs]
    arguments.ranges = tuple(each for each in linked if each.minimum is not None)
    if spec.expands:
        arguments.graphs = tuple(name for name, supplied in spec.hidden.items() if supplied.kind == "graph")
    arguments.count()
    return arguments


def blocking(planned: PlannedNode, values: Mapping[str, Outputs]) -> str:
    """The first source of a node that hands it a blocked value."""
    return next(wire.node for wire in planned.wires if not wire.lazy and first_blocker(values[wire.node][wire.slot]))


def call_all(
    arguments: Arguments, collected: Collected, on_block: Callable[[Blocker], None], between: Callable[[], None]
) -> Collected | Raised:
    """Make the calls of a node that are not done yet; those with a blocked value do not happen and yield blockers.

    `between` is called between them, and may raise Cancelled.
    """
    function = collected.spec.function
    while collected.done < arguments.calls:
        call = collected.done
        if call:
            between()
        blocker = arguments.blocker(call)
        if blocker is None:
            try:
                returned = attempt(function, arguments.of(call))
            except Unanswered as left:
                returned = left
            except InputError as error:
                returned = Raised(error)
        else:
            returned = Unanswered(blocker)
        failure = answer(collected, returned, on_block)
        if failure is not None:
            return failure
    return collected


def answer(collected: Collected, returned: Any, on_block: Callable[[Blocker], None]) -> Raised | None:
    """Take what came of the next call: what it returned, raised, or why it did not answer."""
    call = collected.done
    collected.done += 1
    if isinstance(returned, Raised):
        return returned
    if not isinstance(returned, Unanswered):
        return collected.add(call, returned)
    if returned.blocker is not None:
        on_block(returned.blocker)
        collected.block()
    return None


def first_blocker(items: Iterable[Any]) -> Blocker | None:
    """The first blocked value among some."""
    return next((item for item in items if isinstance(item, Blocker)), None)


def _need_range(spec: InputSpec, value: Any) -> None:
    """Raise InputError for a number, or one of a list, that the input does not take."""
    for item in cast("list[Any]", value) if spec.whole_list else [value]:
        for problem in check_linked(spec, item):
            raise InputError(f"{spec.name}: {problem.message}; a link brought it, and {spec.expectation()} is expected")


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


def _bind(value: Callable[[int], Any], call: int) -> Callable[[], Any]:
    return lambda: value(call)


def _shape(values: Any) -> str:
    if isinstance(values, tuple):
        return f"{len(cast('tuple[Any, ...]', values))} values"
    return f"a {type(values).__name__}"
