"""Which node is in which module of a pack, from the texts of its files, so that only those in use are imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from graphexec.errors import NodeDefinitionError

MARK = re.compile(r"""^@node\(\s*(["'])([^"'\\\n]+)\1\s*[,)]""", re.MULTILINE)
"""The usual way to mark a node; a file that has no other need not be parsed, which takes twenty times as long."""

DECORATOR = re.compile(r"^[ \t]*@[ \t]*(?:\w+\.)*node[ \t]*\(", re.MULTILINE)
"""Any way to mark a node."""


def find_nodes(package: str, paths: Iterable[str]) -> dict[str, str]:
    """The modules of a package by the nodes that are marked in them: `NODES` of a pack.

    Args:
        package: its name.
        paths: the folders that its modules lie in, its `__path__`.

    Raises NodeDefinitionError where two functions claim one name, or a name is not written out as a text.
    """
    found: dict[str, str] = {}
    for file in sorted(file for path in paths for file in Path(path).glob("*.py")):
        module = f"{package}.{file.stem}"
        for name in _names(module, file.read_text(encoding="utf-8")):
            if name in found:
                raise NodeDefinitionError(f"two functions claim the node name {name!r}: in {found[name]} and {module}")
            found[name] = module
    return found


def _names(module: str, text: str) -> list[str]:
    usual = [name for _, name in MARK.findall(text)]
    return usual if len(usual) == len(DECORATOR.findall(text)) else list(_parsed(module, text))


def _parsed(module: str, text: str) -> Iterator[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise NodeDefinitionError(f"{module} cannot be read: {error}") from error
    for part in ast.walk(tree):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            for call in part.decorator_list:
                if isinstance(call, ast.Call) and _is_node(call.func):
                    yield _name(module, call)


def _is_node(called: ast.expr) -> bool:
    return (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)) == "node"


def _name(module: str, call: ast.Call) -> str:
    given = [*call.args[:1], *(each.value for each in call.keywords if each.arg == "name")]
    if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
        return given[0].value
    raise NodeDefinitionError(
        f"{module}, line {call.lineno}: the name of a node is not written out as a text, so it is not found without "
        'importing the module; write @node("Name")'
    )
