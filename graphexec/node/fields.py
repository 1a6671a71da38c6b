"""What a node's signature may say besides plain types: sockets, widgets, model files, hidden inputs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NewType, Protocol, TypeVar

from graphexec.errors import Severity

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeAlias

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Folder:
    """Marks a `Path` as a file of a models folder: `Annotated[Path, Folder("loras")]`."""

    kind: str
    choices: tuple[str, ...] = ()
    """Names accepted besides the folder's files; they reach the node as `Path(name)`."""
    marker: str = ""
    """The value names a folder that has a file of this name; the node gets the path of that file."""
    beside: Callable[[Path], Sequence[Path]] | None = None
    """Given the path: the other files that the node reads with it. Their content enters the key too."""


@dataclass(frozen=True, slots=True)
class Mentioned:
    """Marks a hidden `Mapping[str, Path]`: the files of a models folder that the node's texts mention, by name.

    Their names and content enter the key, and mentions without a file are warned of. Where a text is linked and so not
    known before the run, the node gets every file of the folder.
    """

    kind: str
    find: Callable[[str, Sequence[str]], Mapping[str, str | None]]
    """Given a text and the names of all files: for each mention in it the name of its file, or None."""

    def missing(self, mention: str) -> str:
        """What is said of a mention without a file."""
        return f"there is no file {mention!r} in {self.kind}; the text goes without it"


@dataclass(frozen=True, slots=True)
class Widget:
    """How an editor shows a value; none of it takes part in checking."""

    step: float | None = None
    multiline: bool = False
    placeholder: str | None = None
    control_after_generate: bool = False
    dynamic_prompts: bool = False
    round: float | Literal[False] | None = None
    """To what an editor rounds what is typed; False leaves it as it is, None rounds to the step."""
    filename_prefix: bool = False
    """`%Node.widget%` in the text stands for another node's value."""


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the greatest number that an input takes, as pydantic's `Field(ge=…, le=…)` says it too.

    Importing pydantic's takes longer than checking a workflow.
    """

    ge: float | None = None
    le: float | None = None


@dataclass(frozen=True, slots=True)
class Wire:
    """Names the wire type of a socket where the class name does not: `Annotated[X, Wire("A,B")]`."""

    name: str


@dataclass(frozen=True, slots=True)
class Name:
    """What an input or output is called in workflows, where that is no Python name or no wire type's.

    `Annotated[float, Name("time_embed.")]` of a parameter, `Annotated[int, Name("length")]` of what is returned.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Each:
    """Makes of `**values` an input of each name: `**ratios: Annotated[float, Each(("time_embed.", "out."), 1.0)]`."""

    names: tuple[str, ...]
    default: Any


@dataclass(frozen=True, slots=True)
class Resource:
    """Marks a parameter that the run supplies: `Annotated[Runtime, Resource("runtime")]`, made once a context."""

    name: str


if TYPE_CHECKING:
    Lazy: TypeAlias = Callable[[], T]
else:

    class Lazy(Generic[T]):
        """An input that is computed only when the node calls it.

        A call whose value is not there yet leaves the node, which starts again from its first line once it is:
        call lazy inputs before doing anything else.
        """


NodeId = NewType("NodeId", str)
"""Hidden input: the node's id. It enters the cache key, so equal nodes no longer share one result."""


@dataclass(frozen=True, slots=True)
class WorkflowInfo:
    """Hidden input: the workflow as it was read, for metadata of pictures. It does not enter the cache key."""

    prompt: Mapping[str, Any] = field(default_factory=dict[str, Any])
    extra_pnginfo: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def texts(self) -> dict[str, str]:
        """What files that a node makes carry of the workflow, as JSON under ComfyUI's names."""
        extra = {name: json.dumps(value) for name, value in self.extra_pnginfo.items()}
        return {"prompt": json.dumps(self.prompt), **extra}


class Progress(Protocol):
    """Hidden input: reports `done` of `total` steps, and raises `Cancelled` once the run is asked to stop."""

    def __call__(self, done: int, total: int, /) -> None: ...


class Warn(Protocol):
    """Hidden input: tells the user something that does not stop the run."""

    def __call__(self, message: str, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Output:
    """A place in a graph under construction: output `slot` of `node`."""

    node: str
    slot: int = 0

    def __post_init__(self) -> None:
        _need("the node of a place in an expansion", self.node, str)
        _need("the output of a place in an expansion", self.slot, int)


class Graph:
    """Hidden input: builds the nodes that a node expands to."""

    def __init__(self) -> None:
        self.nodes: dict[str, tuple[str, dict[str, Any]]] = {}

    def node(self, class_type: str, /, *, id: str | None = None, **inputs: Any) -> Output:  # noqa: A002
        """Add a node and return its first output; inputs are values or outputs of other nodes here."""
        _need("the class of a node in an expansion", class_type, str)
        _need("the id of a node in an expansion", id or "", str)
        numbers = (str(number) for number in itertools.count(len(self.nodes) + 1))
        name = id or next(number for number in numbers if number not in self.nodes)
        if name in self.nodes:
            raise ValueError(f"the expansion has two nodes called {name!r}")
        self.nodes[name] = (class_type, inputs)
        return Output(name)


@dataclass(frozen=True, slots=True)
class Expand(Generic[T_co]):
    """What an expanding node returns: a graph, and the outputs or values that stand for its own result."""

    graph: Graph
    result: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        _need("what a node expands to", self.graph, Graph)
        _need("what stands for its result", self.result, tuple, list)


@dataclass(frozen=True, slots=True)
class Blocker:
    """Returned in a slot: whatever needs that slot does not run. A message is reported once."""

    message: str | None = None


Pieces = Callable[[], Iterable[bytes]]
"""Makes the content of a file, piece by piece, each time it is called."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a node made. The executor gives it a name and a place, and writes it whole or not at all."""

    data: bytes | Pieces
    """The content, or what makes it piece by piece: for files too large to hold, the same each time for one key."""
    prefix: str = "ComfyUI"
    """As ComfyUI's `filename_prefix`: subfolders, `%date:…%`, `%width%` and the like."""
    suffix: str = ".png"
    width: int = 0
    height: int = 0
    folder: Literal["output", "temp"] = "output"
    place: int = 0
    """Which one it is of the files of its call, for `%batch_num%`; the executor counts."""

    def __post_init__(self) -> None:
        if not callable(self.data):
            _need("the content of a file", self.data, bytes)

    def pieces(self) -> Iterable[bytes]:
        """The content, made now if it is not there."""
        return (self.data,) if isinstance(self.data, bytes) else self.data()


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What an output node returns: files to write and texts to show."""

    files: tuple[Artifact, ...] = ()
    text: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, items, kind in (("files", self.files, Artifact), ("text", self.text, str)):
            _need(f"Artifacts.{name}", items, tuple)
            for item in items:
                _need(f"an item of Artifacts.{name}", item, kind)


def _need(what: str, value: object, *kinds: type[Any]) -> None:
    """Raise TypeError, at the line of the node that is wrong, for a value of another kind."""
    if not isinstance(value, kinds):
        raise TypeError(f"{what} must be of type {kinds[0].__name__}, not {type(value).__name__}")


Facts = Mapping[str, Any]
"""What is known of a value before anything runs: `width`, `height`, `batch`, `family`, `bytes` …"""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that `infer=` found: an error stops the workflow, a warning is shown."""

    message: str
    input: str | None = None
    severity: Severity = "error"
    code: str = "static_fact"
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Inferred:
    """What `infer=` returns: the facts of each output, and what it found on the way."""

    outputs: tuple[Facts, ...] = ()
    notes: tuple[Note, ...] = ()


Seed = Annotated[int, Range(ge=0, le=0xFFFF_FFFF_FFFF_FFFF), Widget(control_after_generate=True)]
Steps = Annotated[int, Range(ge=1, le=10_000)]
Cfg = Annotated[float, Range(ge=0.0, le=100.0), Widget(step=0.1, round=0.01)]
Unit = Annotated[float, Range(ge=0.0, le=1.0), Widget(step=0.01)]
Strength = Annotated[float, Range(ge=-100.0, le=100.0), Widget(step=0.01)]
Pixels = Annotated[int, Range(ge=16, le=16_384), Widget(step=8)]
BatchSize = Annotated[int, Range(ge=1, le=4096)]
Text = Annotated[str, Widget(multiline=True, dynamic_prompts=True)]
FilenamePrefix = Annotated[str, Widget(filename_prefix=True)]
