"""Files that are named in the middle of a text rather than by an input of their own: embeddings in prompts."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from graphexec.errors import FolderError
from graphexec.graph.folders import Folders, MissingModelFile
from graphexec.node.fields import Mentioned
from graphexec.node.spec import NodeSpec

__all__ = ["mentioned_files"]

Missing = Callable[[str, str, Mentioned], None]
"""Told the input, the mention in it that has no file, and what was looked for."""


def _nobody(name: str, mention: str, mark: Mentioned) -> None:
    """For who has nobody to tell."""


def mentioned_files(
    spec: NodeSpec, constants: Mapping[str, Any], linked: Container[str], folders: Folders, missing: Missing = _nobody
) -> dict[str, dict[str, Path]]:
    """For each parameter that takes them, the files that a node's texts mention.

    All there are if a text is linked, or if the node has no such input: it reads its texts out of files.
    """
    return {name: _files(spec, constants, linked, folders, mark, missing) for name, mark in spec.mentioned.items()}


def _files(
    spec: NodeSpec,
    constants: Mapping[str, Any],
    linked: Container[str],
    folders: Folders,
    mark: Mentioned,
    missing: Missing,
) -> dict[str, Path]:
    known = folders.names(mark.kind)
    texts = [name for name, declared in spec.inputs.items() if declared.wire == "STRING"]
    found: dict[str, Path | None] = {}
    if not texts or any(name in linked for name in texts):
        found = {file: _resolved(folders, mark.kind, file) for file in known}
    for name in texts:
        for mention, file in mark.find(constants.get(name) or "", known).items():
            path = None if file is None else _resolved(folders, mark.kind, file)
            if file is None or path is None:
                missing(name, mention, mark)
            else:
                found[file] = path
    return {file: path for file, path in sorted(found.items()) if path is not None}


def _resolved(folders: Folders, kind: str, file: str) -> Path | None:
    """A file that was listed, if it can be found: one may be gone since, or have a name that no workflow can say."""
    try:
        return folders.resolve(kind, file)
    except (FolderError, MissingModelFile):
        return None
