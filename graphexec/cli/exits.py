"""How a command ends."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from graphexec.errors import (
    Cancelled,
    Diagnostic,
    FolderError,
    GraphexecError,
    MissingFileError,
    ModelFileError,
    ModelPathsError,
    WorkflowError,
)


class ExitCode(IntEnum):
    """The exit codes of every command: a contract that scripts may rely on. `meaning` is what users read."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        """A member whose number is `value`."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    DONE = 0, "done"
    FAILED = 1, "a node failed, an output could not be written, or what is checked is stale"
    INVALID = 2, "the workflow, or a file of weights, is invalid, or the command was used wrongly"
    MISSING = 3, "a file or a model is missing, and nothing else is wrong"
    INTERRUPTED = 130, "interrupted (Ctrl-C); nodes that had finished are kept"
    BROKEN_PIPE = 141, "whoever was reading the output went away"
    TERMINATED = 143, "asked to stop (SIGTERM); nodes that had finished are kept"


class Terminated(KeyboardInterrupt):
    """SIGTERM came; whatever lets Ctrl-C through lets this through."""


STOPS = (GraphexecError, OSError, ImportError, KeyboardInterrupt)
"""What may end a command with a message and an exit code; anything else is a fault of graphexec."""


def exit_code(diagnostics: Iterable[Diagnostic]) -> ExitCode:
    """What diagnostics amount to: warnings alone are fine, missing files alone are no fault of the workflow."""
    errors = [diagnostic for diagnostic in diagnostics if diagnostic.severity == "error"]
    if not errors:
        return ExitCode.DONE
    return ExitCode.MISSING if all(error.missing_file for error in errors) else ExitCode.INVALID


def exit_code_of(error: BaseException) -> ExitCode:
    """What an exception amounts to that ends a command."""
    match error:
        case WorkflowError():
            return exit_code(error.diagnostics)
        case MissingFileError() | FileNotFoundError():
            return ExitCode.MISSING
        case ModelFileError() | ModelPathsError():
            return ExitCode.INVALID
        case FolderError():
            return ExitCode.MISSING
        case Terminated():
            return ExitCode.TERMINATED
        case Cancelled() | KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case BrokenPipeError():
            return ExitCode.BROKEN_PIPE
        case _:
            return ExitCode.FAILED


def exit_codes_in_words() -> str:
    """The list of exit codes, for a command's help."""
    return "\b\nExit codes:\n" + "\n".join(f"  {code.value:>3}  {code.meaning}" for code in ExitCode)
