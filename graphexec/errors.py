"""Everything graphexec raises, and the diagnostic that a check hands back.

GraphexecError
├── WorkflowError      the workflow cannot run; carries every diagnostic
├── NodeError          a node raised while it ran; carries its id and class
├── ModelFileError     a file of weights is missing, damaged or of another kind
│   └── MissingFileError  it is not there
├── InputError         a link brought a number that makes no sense there
├── FolderError        a models folder, or a name inside one, is not allowed
│   └── ModelPathsError  a file of model paths says what it may not
├── OutputError        an output file cannot be written where it was asked for
├── ResultError        a run left no such single value
├── CacheError         the cache folder cannot be used at all
├── NodeDefinitionError  a function cannot be read as a node
└── Cancelled          the run was asked to stop
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

__all__ = [
    "DAMAGED_PICTURE",
    "AllFaults",
    "CacheError",
    "Cancelled",
    "Diagnostic",
    "FolderError",
    "GraphexecError",
    "InputError",
    "MissingFileError",
    "ModelFileError",
    "ModelPathsError",
    "NodeDefinitionError",
    "NodeError",
    "OutputError",
    "ResultError",
    "Severity",
    "WorkflowError",
    "said",
    "unreadable",
]

Severity = Literal["error", "warning"]


def said(error: BaseException) -> str:
    """What an error says; its kind if it says nothing."""
    return str(error) or type(error).__name__


DAMAGED_PICTURE = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError, RuntimeError, struct.error,
)  # fmt: skip
"""What Pillow raises at files that are no picture, or not whole; its DecompressionBombError beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One fault of a workflow: what is wrong, where, what was expected and what to do."""

    code: str
    message: str
    severity: Severity = "error"
    node: str | None = None
    title: str | None = None
    class_type: str | None = None
    input: str | None = None
    pointer: str = ""
    """JSON pointer (RFC 6901) into the file; "" is the whole of it."""
    expected: str | None = None
    received: str | None = None
    hint: str | None = None
    line: int | None = None
    column: int | None = None
    source: str | None = None
    """The file in which it is, where that is not the workflow's."""
    lossy: bool = False
    """A warning that `--strict` makes an error."""
    missing_file: bool = False
    """The fault is a file that is not there, not the workflow."""


class GraphexecError(Exception):
    """Whatever graphexec raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Python's own would call a constructor, which may take something else, with the message, and lose the cause.
        cause = {} if self.__cause__ is None else {"__cause__": _portable(self.__cause__)}
        return _remade, (type(self), self.args), {**self.__dict__, **cause}


def _remade(kind: type[GraphexecError], args: tuple[Any, ...]) -> GraphexecError:
    """The error of another process, or a copy's; its fields are set next."""
    return kind.__new__(kind, *args)


def _portable(cause: BaseException) -> BaseException:
    """The cause, or where it cannot go to another process one that says the same: a pool breaks over it otherwise."""
    import pickle  # which a check of a workflow does without

    try:
        pickle.loads(pickle.dumps(cause))
    except (pickle.PickleError, AttributeError, TypeError, ValueError, LookupError, RuntimeError, ImportError):
        return RuntimeError(f"{type(cause).__name__}: {said(cause)}")
    return cause


class WorkflowError(GraphexecError):
    """The workflow cannot run; `diagnostics` holds everything that was found, warnings too."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        errors = [d for d in self.diagnostics if d.severity == "error"]
        super().__init__("\n".join(f"{d.pointer or '/'}: {d.message}" for d in errors))


class AllFaults:
    """Lets what stands in `with` go on past a WorkflowError; `found` has them all, and `check` raises them as one."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, WorkflowError):
            return False
        self.found += error.diagnostics
        return True

    def check(self) -> None:
        """Raises WorkflowError if there was one."""
        if self.found:
            raise WorkflowError(self.found)


class NodeError(GraphexecError):
    """A node raised while it ran; `__cause__` is what it raised."""

    def __init__(self, node: str, class_type: str, cause: BaseException) -> None:
        self.node = node
        self.class_type = class_type
        self.__cause__ = cause
        super().__init__(f"node {node} ({class_type}): {said(cause)}")


class ModelFileError(GraphexecError):
    """A file of weights is missing, damaged, or not of the kind that was asked for."""


class MissingFileError(ModelFileError):
    """A file of weights is not there."""


def unreadable(error: OSError) -> ModelFileError:
    """What is raised of a file of weights that the system does not hand out."""
    kind = MissingFileError if isinstance(error, FileNotFoundError | NotADirectoryError) else ModelFileError
    return kind(f"the file cannot be read ({error.strerror or error})")


class InputError(GraphexecError):
    """A link brought 0 or less to an input that takes more than that; a `NodeError` with this cause names the node."""


class FolderError(GraphexecError):
    """A models folder cannot be read, or a name would leave it."""


class ModelPathsError(FolderError):
    """A file like ComfyUI's extra_model_paths.yaml is not of that form; the message says where."""


class OutputError(GraphexecError):
    """An output file cannot be written where it was asked for."""


class ResultError(GraphexecError):
    """A run left no such single value; the message says what there is."""


class CacheError(GraphexecError):
    """The cache folder cannot be used at all (a bad entry in it is no error: it is computed again)."""


class NodeDefinitionError(GraphexecError):
    """A function cannot be read as a node; the message names the parameter."""


class Cancelled(GraphexecError):
    """The run was asked to stop."""
