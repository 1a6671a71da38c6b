"""What hosts may do with errors: send them to another process, copy them, and hear of all at once."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graphexec
from graphexec.errors import (
    AllFaults,
    Diagnostic,
    GraphexecError,
    MissingFileError,
    ModelPathsError,
    NodeError,
    WorkflowError,
)
from graphexec.graph.folders import MissingModelFile

FOUND = (
    Diagnostic(code="cycle", message="it goes round", node="a", pointer="/a", line=3),
    Diagnostic(code="unused_node", message="nobody needs it", severity="warning"),
)
OF_THEIR_OWN = [
    WorkflowError(FOUND),
    NodeError("a", "Fail", ValueError("no luck", 3)),
    NodeError("b", "Read", MissingModelFile("loras", "gone", ("gene",), (Path("loras"),))),
]
KINDS = [value for name in graphexec.__all__ if isinstance(value := getattr(graphexec, name), type)]
PLAIN = [
    *(kind for kind in KINDS if issubclass(kind, GraphexecError) and "__init__" not in vars(kind)),
    MissingFileError,
    ModelPathsError,
]


def through_bytes(error: Exception) -> Exception:
    return pickle.loads(pickle.dumps(error))


def told(error: BaseException | None) -> tuple[Any, ...]:
    """All that an error says, without who it is."""
    if error is None:
        return ()
    return type(error), error.args, vars(error), told(error.__cause__)


@pytest.mark.parametrize("again", [through_bytes, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("error", OF_THEIR_OWN + [kind("what is wrong") for kind in PLAIN])
def test_an_error_goes_to_another_process_whole(error: Exception, again: Callable[[Exception], Exception]) -> None:
    error.__notes__ = ["said in passing"]
    assert told(again(error)) == told(error)


class TwoWords(Exception):
    """Its pickle cannot be read: Python would call it with the message alone."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


def test_a_cause_that_cannot_go_to_another_process_is_told_there() -> None:
    class Local(Exception): ...

    for cause in (TwoWords("no", "luck"), Local("no luck"), ValueError(threading.Lock())):
        error = through_bytes(NodeError("a", "Fail", cause))
        assert (str(error), type(error)) == (str(NodeError("a", "Fail", cause)), NodeError)
        assert str(error.__cause__) == f"{type(cause).__name__}: {cause}"


def test_all_workflow_errors_come_as_one_and_others_at_once() -> None:
    faults, reached = AllFaults(), list[str]()
    for code in ("one", "two"):
        with faults:
            raise WorkflowError([Diagnostic(code=code, message=code)])
    with faults:
        reached.append("three")
    with pytest.raises(WorkflowError) as raised:
        faults.check()
    assert [each.code for each in raised.value.diagnostics] == ["one", "two"] and reached == ["three"]
    with pytest.raises(KeyError), AllFaults():
        raise KeyError("four")
    AllFaults().check()
