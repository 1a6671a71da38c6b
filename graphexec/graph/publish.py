"""Brings the files of output nodes to their places, or finds them there still from an earlier run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from graphexec.graph import events
from graphexec.graph.context import Context
from graphexec.graph.outputs import OutputFolder, PublishedRecord
from graphexec.node.fields import Artifacts


@dataclass(slots=True)
class Publisher:
    """The files and texts of one run, by the id of the node that made them."""

    context: Context
    files: dict[str, tuple[Path, ...]] = field(default_factory=dict[str, tuple[Path, ...]])
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def publish(self, node: str, artifacts: Artifacts, key: bytes | None) -> None:
        """Put an output node's files in place; those of an earlier run that are unchanged stay as they are."""
        if artifacts.text:
            self.texts[node] = self.texts.get(node, ()) + artifacts.text
        if artifacts.files:
            paths, kept = self._place(artifacts, key)
            self.files[node] = self.files.get(node, ()) + paths
            self.context.on_event(events.Written(node, paths, kept))
