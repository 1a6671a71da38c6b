"""What an input expects, in words, and what a node's spec knows of itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from graphexec.node.fields import Folder, Strength
from graphexec.node.spec import MISSING, InputSpec
from node.nodes import input_of, taking


class Pear:
    """A socket type."""


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "INT"),
        (Strength, "FLOAT from -100.0 to 100.0"),
        (Annotated[int, Field(ge=1)], "INT of at least 1"),
        (Annotated[int, Field(le=0)], "INT of at most 0"),
        (Annotated[int, Field(ge=0, le=0)], "INT from 0 to 0"),
        (Literal["a", 1], "one of 'a', 1"),
        (Annotated[Path, Folder("loras")], "the name of a file in loras"),
        (Pear, "a link to an output of type PEAR"),
        (Pear | int, "a link to an output of type PEAR,INT"),
        (int | float, "INT,FLOAT"),
        (Any, "anything"),
    ],
)
def test_expectation(annotation: Any, words: str) -> None:
    assert input_of(annotation).expectation() == words


def test_no_default_is_not_the_default_none() -> None:
    assert not InputSpec("x", "INT", True).has_default
    assert InputSpec("x", "INT", True, default=None).has_default
    assert repr(MISSING) == "MISSING"


def test_specs_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        taking(int).name = "M"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
