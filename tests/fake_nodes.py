"""A small pack without torch: numbers, lists, lazy choices, loops, blockers, failures."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import Field

from graphexec.errors import Cancelled
from graphexec.node.decorator import node
from graphexec.node.fields import (
    Artifact,
    Artifacts,
    Blocker,
    Expand,
    FilenamePrefix,
    Folder,
    Graph,
    Lazy,
    NodeId,
    Output,
    Progress,
    Resource,
    Warn,
    WorkflowInfo,
)

T = TypeVar("T")

Log = Annotated[list[str], Resource("log")]
"""Every call of a node that asks for it, in order."""


def make_log(settings: Mapping[str, str]) -> list[str]:
    return []


def fail_to_make(settings: Mapping[str, str]) -> list[str]:
    raise RuntimeError("there is none here")


RESOURCES = {"log": make_log, "alive": make_log, "unmade": fail_to_make}


class Apple:
    """A socket type."""


class Pear:
    """Another one."""


@dataclass(frozen=True)
class Crate:
    """A socket type that holds a list."""

    apples: list[int]


class Halves(NamedTuple):
    low: int
    high: int


@node("Int", category="numbers")
def make_int(log: Log, value: Annotated[int, Field(ge=-1000, le=1000)] = 0) -> int:
    """A number.

    Args:
        value: the number.
    """
    log.append(f"Int {value}")
    return value


@node("Add", category="numbers")
def add(log: Log, a: int, b: int = 1) -> int:
    """The sum of two numbers."""
    log.append(f"Add {a} {b}")
    return a + b


@node("Scale")
def scale(
    value: int, factor: Annotated[float, Field(ge=0.0, le=10.0)] = 1.0, mode: Literal["up", "down"] = "up"
) -> float:
    """A number times a factor, or divided by it."""
    return value * factor if mode == "up" else value / factor


@node("Flag")
def flag(value: bool) -> bool:
    """True or false."""
    return value


@node("Say")
def say(text: str, times: int | None = None) -> str:
    """A text, perhaps several times."""
    return text * (times or 1)


@node("Given")
def given(value: int | None, lazy: Lazy[int] | None) -> str:
    """What came for inputs that may be left out but have no defaults."""
    return f"{value} {lazy() if lazy else lazy}"


@node("Halve")
def halve(value: int) -> Halves:
    """Two halves of a number."""
    return Halves(value // 2, value - value // 2)


@node("Plant")
def plant() -> tuple[Apple, Pear]:
    """One of each."""
    return Apple(), Pear()


@node("Crate")
def pack(n: int) -> Crate:
    """A crate of apples."""
    return Crate(list(range(n)))


@node("EatApple")
def eat_apple(apple: Apple) -> Artifacts:
    """Takes apples alone."""
    return Artifacts(text=("apple",))


@node("EatFruit")
def eat_fruit(fruit: Apple | Pear) -> Artifacts:
    """Takes either."""
    return Artifacts(text=(type(fruit).__name__,))


@node("Same")
def same(value: T, like: T | None = None) -> T:
    """Hands its input on; the output has its type."""
    return value


@node("Range")
def count_up(n: int) -> list[int]:
    """The numbers below n, as a list."""
    return list(range(n))


@node("Sum")
def sum_all(log: Log, values: list[int]) -> int:
    """The sum of a whole list."""
    log.append(f"Sum {values}")
    return sum(values)


@node("Choose")
def choose(log: Log, first: bool, yes: Lazy[T], no: Lazy[T]) -> T:
    """Computes only the branch that it takes."""
    value = yes() if first else no()
    log.append("Choose")
    return value


@node("Told")
def told(value: int | None = 5, words: list[str] | None = None) -> str:
    """What came for inputs that may be None."""
    return f"{value} {words}"


@node("Gate")
def gate(value: T, open: bool, message: str | None = None) -> T | Blocker:  # noqa: A002
    """Hands its input on, or blocks what follows."""
    return value if open else Blocker(message or None)


@node("Repeat")
def repeat(times: int, value: int, graph: Graph) -> Expand[int]:
    """Adds one to a number so many times, by expanding to itself."""
    if times == 0:
        return Expand(graph, (value,))
    more = graph.node("Add", a=value, b=1)
    return Expand(graph, (graph.node("Repeat", times=times - 1, value=more),))


@node("AddTwice")
def add_twice(a: int, b: int, graph: Graph) -> Expand[int]:
    """a + b + b, by expanding."""
    once = graph.node("Add", a=a, b=b)
    return Expand(graph, (graph.node("Add", a=once, b=b),))


@node("Broken")
def broken_expansion(what: str, graph: Graph) -> Expand[int]:
    """Expands to a graph that cannot run."""
    if what == "class":
        return Expand(graph, (graph.node("Ad", a=1),))
    if what == "input":
        return Expand(graph, (graph.node("Add", a=1, c=2),))
    if what == "missing":
        return Expand(graph, (graph.node("Add", b=1),))
    if what == "range":
        return Expand(graph, (graph.node("Int", value=5000),))
    if what == "cycle":
        graph.node("Add", id="x", a=Output("y"))
        return Expand(graph, (graph.node("Add", id="y", a=Output("x")),))
    return Expand(graph, ())


@node("Fail")
def fail(value: Any, message: str | None = None) -> int:
    """Always raises."""
    raise RuntimeError(message or "no luck")


@node("Later")
async def later(log: Log, value: int, turns: int | None = None) -> int:
    """Hands a number on after so many turns of the event loop."""
    log.append(f"start {value}")
    for _ in range(turns or 1):
        await asyncio.sleep(0)
    log.append(f"end {value}")
    return value


@node("Long")
def long(steps: int, progress: Progress) -> int:
    """Reports each of its steps."""
    for step in range(steps):
        progress(step + 1, steps)
    return steps


@node("Stop")
def stop(value: Any) -> int:
    """Asks for the run to stop."""
    raise Cancelled("asked to")


@node("Mutter")
def mutter(text: str, warn: Warn) -> str:
    """Warns."""
    warn(text)
    return text


@node("WhoAmI")
def who_am_i(log: Log, me: NodeId) -> str:
    """Its own id."""
    log.append(f"WhoAmI {me}")
    return me


def _fingerprint(path: str) -> float | str:
    if path == "gone":
        raise OSError("there is no such file")
    return float("nan") if path == "never" else path.upper()


@node("Watch", fingerprint=_fingerprint)
def watch(log: Log, path: str) -> str:
    """Runs again when its fingerprint changes."""
    log.append(f"Watch {path}")
    return path


def _check_even(value: int | None, input_types: dict[str, str]) -> bool | str:
    if value is None:
        return input_types == {"value": "INT"} or f"linked to {input_types}"
    return value % 2 == 0 or f"{value} is odd"


@node("Even", check=_check_even)
def even(value: Annotated[int, Field(ge=0, le=10)]) -> int:
    """An even number; its own check looks at the range too."""
    return value


VERDICTS: dict[str, Any] = {"true": True, "false": False, "zero": 0, "text": "not today"}


def _check_verdict(verdict: str) -> Any:
    return VERDICTS[verdict]


@node("Picky", check=_check_verdict)
def picky(verdict: str) -> str:
    """Its own check says what it is told to say, or raises."""
    return verdict


@node("Show")
def show(log: Log, source: Any) -> Artifacts:
    """Shows a value."""
    log.append(f"Show {source}")
    return Artifacts(text=(str(source),))


@node("Write")
def write(text: str, workflow: WorkflowInfo, filename_prefix: FilenamePrefix = "note") -> Artifacts:
    """Writes a text file."""
    return Artifacts(files=(Artifact(text.encode(), filename_prefix, suffix=".txt"),))


@node("WriteInPieces")
def write_in_pieces(text: str, progress: Progress) -> Artifacts:
    """Writes a text file whose content is made when it is written: a digit is an error, and it tells of each letter."""

    def pieces() -> Iterator[bytes]:
        for place, letter in enumerate(text):
            progress(place, len(text))
            if letter.isdigit():
                raise ValueError(f"no letter: {letter}")
            yield letter.encode()

    return Artifacts(files=(Artifact(pieces, "pieces", suffix=".txt"),))


@node("Bad")
def bad(what: str) -> tuple[int, int]:
    """Returns what it does not declare."""
    return (1,) if what == "few" else 7  # type: ignore[return-value]


@node("Basket")
def basket(log: Log, fruit: Apple) -> int:
    """Looks at an apple; says which it was."""
    log.append(f"Basket {id(fruit)}")
    return 1


@node("Truths")
def truths(text: str) -> list[bool]:
    """One truth for each letter: t is true."""
    return [letter == "t" for letter in text]


@node("Last")
def last_of(values: list[int]) -> int:
    """The last number of a list, which it takes out."""
    return values.pop()


@node("LaterChoose")
async def later_choose(log: Log, first: bool, yes: Lazy[T], no: Lazy[T]) -> T:
    """As Choose, after a turn of the event loop."""
    value = yes() if first else no()
    await asyncio.sleep(0)
    log.append("LaterChoose")
    return value


@node("LaterFail")
async def later_fail(log: Log, value: int) -> int:
    """Raises for 0; for other numbers it takes longer than any run, and says when it is stopped."""
    try:
        await asyncio.sleep(3600 if value else 0)
    except asyncio.CancelledError:
        log.append(f"stopped {value}")
        raise
    raise RuntimeError("no luck later")


@node("Unmade")
def unmade(thing: Annotated[object, Resource("unmade")]) -> int:
    """Wants a resource that cannot be made."""
    return 0


@node("Note")
def note(log: Log, text: str, value: int) -> tuple[int, Artifacts]:
    """Writes a text file and hands a number on."""
    log.append(f"Note {text}")
    return value, Artifacts(files=(Artifact(text.encode(), "note", suffix=".txt"),))


@node("NoteInside")
def note_inside(text: str, value: int, graph: Graph) -> Expand[int]:
    """Expands to a node that expands to one that writes a file, and hands a number on."""
    if text.startswith("deep "):
        return Expand(graph, (graph.node("NoteInside", text=text.removeprefix("deep "), value=value),))
    return Expand(graph, (graph.node("Note", text=text, value=value),))


@node("HandThrough")
def hand_through(fruit: Apple, fail: bool, graph: Graph) -> Expand[int]:
    """Expands to nodes that use its own input, the second behind a lazy input, the third perhaps failing."""
    first = graph.node("Basket", fruit=fruit)
    lazily = graph.node("Choose", first=True, yes=graph.node("Basket", fruit=fruit), no=0)
    last = graph.node("Fail", value=first) if fail else first
    return Expand(graph, (graph.node("Sum3", a=first, b=lazily, c=last),))


@node("Sum3")
def sum_three(a: int, b: int, c: int) -> int:
    """The sum of three numbers."""
    return a + b + c


@node("ListInside")
def list_inside(n: int, how: str, graph: Graph) -> Expand[list[int]]:
    """Expands to a list: made inside, or there already."""
    return Expand(graph, (graph.node("Range", n=n) if how == "made" else list(range(n)),))


@node("GateInside")
def gate_inside(open: bool, message: str, graph: Graph) -> Expand[int]:  # noqa: A002
    """Expands to a gate."""
    return Expand(graph, (graph.node("Gate", value=1, open=open, message=message),))


@node("WatchInside")
def watch_inside(path: str, graph: Graph) -> Expand[str]:
    """Expands to a node whose fingerprint changes."""
    return Expand(graph, (graph.node("Watch", path=path),))


@node("FailTwice")
def fail_twice(graph: Graph) -> Expand[int]:
    """Expands to two nodes that fail, one of them later."""
    return Expand(graph, (graph.node("Add", a=graph.node("LaterFail", value=0), b=graph.node("Fail", value=1)),))


@node("SayInside")
def say_inside(graph: Graph) -> Expand[str]:
    """Leaves an optional input out by giving nothing for it."""
    return Expand(graph, (graph.node("Say", text="hi", times=None),))


@node("GivenInside")
def given_inside(graph: Graph) -> Expand[str]:
    """Leaves inputs out that have no defaults."""
    return Expand(graph, (graph.node("Given", value=None),))


@node("BadShow")
def bad_show() -> Artifacts:
    """Declares Artifacts and returns nothing."""
    return None  # type: ignore[return-value]


@node("BadExpand")
def bad_expand(graph: Graph) -> int:
    """Expands without having said so."""
    return Expand(graph, (1,))  # type: ignore[return-value]


@node("Read")
def read(file: Annotated[Path, Folder("loras")] = Path("usual.safetensors")) -> str:
    """The text of a file."""
    return file.read_text()


@node("ReadInside")
def read_inside(name: str, graph: Graph) -> Expand[str]:
    """Expands to a node that reads a file."""
    return Expand(graph, (graph.node("Read", file=name),))


@node("OnThread")
async def on_thread(value: int) -> int:
    """Hands a number on by way of another thread."""
    return await asyncio.to_thread(abs, value)


@node("Misplaced")
def misplaced(what: str, graph: Graph) -> Expand[int]:
    """Expands, and takes its result from where there is none."""
    if what == "slot":
        return Expand(graph, (Output(graph.node("Add", a=1).node, 7),))
    if what == "type":
        return Expand(graph, (graph.node("Say", text="one"),))
    if what == "twice":
        return Expand(graph, (graph.node("Add", id="x", a=graph.node("Add", id="x", a=1)),))
    return Expand(graph, (Output("nowhere"),))


class Heavy:
    """A value whose end can be seen."""

    def __init__(self, alive: list[str], name: str) -> None:
        self.alive = alive
        self.name = name
        alive.append(name)
        weakref.finalize(self, alive.remove, name)


@node("Make")
def make_heavy(
    log: Log, alive: Annotated[list[str], Resource("alive")], name: str, after: Heavy | None = None
) -> Heavy:
    """A heavy value."""
    log.append(f"Make {name}")
    return Heavy(alive, name)


@node("Weigh")
def weigh(
    log: Log, alive: Annotated[list[str], Resource("alive")], heavy: Heavy, other: Heavy | None = None, at: int = 0
) -> int:
    """Says what is alive when it runs."""
    log.append(f"Weigh {heavy.name}: {' '.join(sorted(alive))}")
    return at


@node("PickInside")
def pick_inside(first: bool, yes: int, no: int, graph: Graph) -> Expand[int]:
    """Expands to two nodes, one of which is computed."""
    more, less = graph.node("AddTwice", a=yes, b=1), graph.node("Add", a=no, b=-1)
    return Expand(graph, (graph.node("Choose", first=first, yes=more, no=less),))
