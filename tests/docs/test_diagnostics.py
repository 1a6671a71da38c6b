"""docs/diagnostics.md names every code that a check can give, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from docs.pages import DOCS, ROOT

CODE_PLACES = {
    "add": 0,
    "_fail": 2,
    "Problem": 0,
    "Fault": 0,
    "_fault": 0,
    "_error": 0,
    "Note": 3,
    "_add": 0,
    "note": 0,
}
"""Calls that make a diagnostic, and which argument is its code."""


def documented() -> set[str]:
    return set(re.findall(r"^\| `(\w+)`", (DOCS / "diagnostics.md").read_text(), re.MULTILINE))


def literals() -> set[str]:
    """Every text in the source that could be a code."""
    return {
        node.value
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", node.value)
    }


def sources() -> Iterator[Path]:
    for folder in ("graphexec/graph", "graphexec/node", "graphexec/cli", "nodes"):
        yield from (ROOT / folder).rglob("*.py")


def given() -> set[str]:
    """The codes in calls that make a diagnostic."""
    found: set[str] = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                found |= codes_of(node)
    return found


def codes_of(call: ast.Call) -> set[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    place = CODE_PLACES.get(name, 99)
    arguments = [*call.args[place : place + 1], *(word.value for word in call.keywords if word.arg == "code")]
    texts = [a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return {text for text in texts if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", text)}


def test_every_code_that_is_given_is_documented() -> None:
    assert given() - documented() == set()
    assert len(given()) > 30


def test_every_documented_code_is_in_the_source() -> None:
    assert documented() - literals() == set()
