"""Nodes that do next to nothing: what is measured is what graphexec adds."""

from __future__ import annotations

from graphexec.node import node


@node("Number")
def number(value: int) -> int:
    """A number."""
    return value


@node("Successor")
def successor(value: int) -> int:
    """The number after another."""
    return value + 1


@node("Sum")
def total(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b
