"""Which node is in which module of a pack, from the texts of its files, so that only those in use are imported."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from graphexec.errors import NodeDefinitionError

MARK = re.compile(r"""^@node\(\s*(["'])(.+?)\1""", re.MULTILINE)


def find_nodes(package: str, paths: Iterable[str]) -> dict[str, str]:
    """The modules of a package by the nodes that are marked in them: `NODES` of a pack.

    Args:
        package: its name.
        paths: the folders that its modules lie in, its `__path__`.

    Raises NodeDefinitionError where two functions claim one name.
    """
    found: dict[str, str] = {}
    for file in sorted(file for path in paths for file in Path(path).glob("*.py")):
        module = f"{package}.{file.stem}"
        for _, name in MARK.findall(file.read_text(encoding="utf-8")):
            if name in found:
                raise NodeDefinitionError(f"two functions claim the node name {name!r}: in {found[name]} and {module}")
            found[name] = module
    return found
