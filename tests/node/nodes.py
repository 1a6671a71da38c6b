"""Makes nodes of single annotations, and reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphexec.node.decorator import definition_of, node
from graphexec.node.read import read_spec
from graphexec.node.spec import InputSpec, NodeSpec


def read(function: Callable[..., Any]) -> NodeSpec:
    """What a function says that a test marked as a node."""
    definition = definition_of(function)
    assert definition is not None
    return read_spec(function, definition)


def taking(annotation: Any, **definition: Any) -> NodeSpec:
    """The node `N` with the input `x` of a type."""

    def run(x: Any) -> int:
        raise NotImplementedError

    run.__annotations__["x"] = annotation
    return read(node("N", **definition)(run))


def input_of(annotation: Any) -> InputSpec:
    """An input `x` of a type."""
    return taking(annotation).inputs["x"]


def returning(annotation: Any) -> NodeSpec:
    """The node `N` that returns a type."""

    def run() -> Any:
        raise NotImplementedError

    run.__annotations__["return"] = annotation
    return read(node("N")(run))
