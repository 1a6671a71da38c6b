"""Reads what a test marked as a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphexec.node.decorator import definition_of
from graphexec.node.read import read_spec
from graphexec.node.spec import NodeSpec


def read(function: Callable[..., Any]) -> NodeSpec:
    definition = definition_of(function)
    assert definition is not None
    return read_spec(function, definition)
