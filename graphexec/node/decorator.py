"""`@node`: marks a plain typed function as a node and returns it unchanged."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

ATTRIBUTE = "__graphexec_node__"


@dataclass(frozen=True, slots=True)
class NodeDefinition:
    """What `@node` was told; the rest is in the function's signature."""

    name: str
    category: str
    display_name: str
    check: Callable[..., Any] | None
    fingerprint: Callable[..., Any] | None
    infer: Callable[..., Any] | None
    version: str


def node(
    name: str,
    *,
    category: str = "",
    display_name: str = "",
    check: Callable[..., Any] | None = None,
    fingerprint: Callable[..., Any] | None = None,
    infer: Callable[..., Any] | None = None,
    version: str = "",
) -> Callable[[F], F]:
    """Mark a function as the node called `name` in workflows.

    Args:
        name: the `class_type`, a public contract.
        category: where an editor lists it, `a/b`.
        display_name: what an editor calls it.
        check: given some of the inputs by name (None where linked), returns True or what is wrong.
        fingerprint: given some of the inputs by name, returns a value that enters the cache key.
        infer: given some of the inputs by name (facts where linked), or with `**` all, returns `Inferred`.
        version: change it when the results change though the function's own code does not.
    """
    definition = NodeDefinition(name, category, display_name, check, fingerprint, infer, version)

    def mark(function: F) -> F:
        setattr(function, ATTRIBUTE, definition)
        return function

    return mark


def definition_of(value: object) -> NodeDefinition | None:
    """What `@node` was told about a function, or None for anything else."""
    definition = inspect.getattr_static(value, ATTRIBUTE, None)  # a lazy object would wake up at the question
    return definition if isinstance(definition, NodeDefinition) else None
