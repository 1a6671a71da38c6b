"""Files that are named in the middle of a text rather than by an input of their own: embeddings in prompts."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from graphexec.graph.folders import Folders
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
    """For each parameter that takes them, the files that a node's texts mention; all there are if one is linked."""
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
    found = set(known) if any(name in linked for name in texts) else set[str]()
    for name in texts:
        for mention, file in mark.find(constants.get(name) or "", known).items():
            if file is None:
                missing(name, mention, mark)
            else:
                found.add(file)
    return {file: folders.resolve(mark.kind, file) for file in sorted(found)}
