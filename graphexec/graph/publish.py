"""Brings the files of output nodes to their places, or finds them there still from an earlier run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from graphexec.graph import events
from graphexec.graph.context import Context
from graphexec.graph.outputs import OutputFolder, PublishedRecord
from graphexec.graph.plan import PlannedNode
from graphexec.node.boundary import Raised, attempt
from graphexec.node.fields import Artifacts


@dataclass(slots=True)
class Publisher:
    """The files and texts of one run, by the id of the node that made them."""

    context: Context
    files: dict[str, tuple[Path, ...]] = field(default_factory=dict[str, tuple[Path, ...]])
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def refusal(self, planned: PlannedNode) -> Raised | None:
        """Why the files of an output node cannot be written, as far as that can be told before it runs."""
        folder = OutputFolder(Path(self.context.output))
        for name, spec in planned.spec.inputs.items():
            if planned.spec.artifact_slots and spec.look.filename_prefix and name in planned.constants:
                refused = attempt(folder.check, {"prefix": planned.constants[name]})
                if isinstance(refused, Raised):
                    return refused
        return None

    def publish(self, node: str, artifacts: Artifacts, key: bytes | None) -> Raised | None:
        """Put an output node's files in place; those of an earlier run that are unchanged stay as they are.

        Hands back why that cannot be: the folder refuses, or what makes a file's content piece by piece raised.
        """
        if artifacts.text:
            self.texts[node] = self.texts.get(node, ()) + artifacts.text
            self.context.on_event(events.Shown(node, artifacts.text))
        if artifacts.files:
            placed = self._place(artifacts, key)
            if isinstance(placed, Raised):
                return placed
            paths, kept = placed
            self.files[node] = self.files.get(node, ()) + paths
            self.context.on_event(events.Written(node, paths, kept))
        return None

    def _place(self, artifacts: Artifacts, key: bytes | None) -> tuple[tuple[Path, ...], bool] | Raised:
        """Where the files are, and whether they were there already."""
        folder = OutputFolder(Path(self.context.output))
        place = None if key is None else self._record_key(key)
        earlier = None if place is None else self._recall(place)
        if earlier is not None and _same(earlier, artifacts) and (paths := earlier.still_there()) is not None:
            return paths, True
        names = earlier.paths if earlier is not None else ()
        paths = attempt(folder.publish, {"artifacts": artifacts, "names": names})
        if isinstance(paths, Raised):
            return paths
        if place is not None:
            record = attempt(PublishedRecord.record, {"paths": paths})
            if isinstance(record, Raised):
                return record
            self.context.cache.put(place, ([record],))
        return paths, False

    def _recall(self, place: bytes) -> PublishedRecord | None:
        kept = self.context.cache.get(place)
        record = kept[0][0] if kept else None
        return record if isinstance(record, PublishedRecord) else None

    def _record_key(self, key: bytes) -> bytes:
        """Where the cache notes which files in this output folder belong to a result."""
        return hashlib.sha256(b"files" + key + str(Path(self.context.output).absolute()).encode()).digest()


def _same(record: PublishedRecord, artifacts: Artifacts) -> bool:
    """Whether the files that were noted have the content of the artifacts; one that is made is decided by its key."""
    noted = [digest for _, _, digest in record.files]
    return len(noted) == len(artifacts.files) and all(
        not isinstance(file.data, bytes) or hashlib.sha256(file.data).digest() == digest
        for file, digest in zip(artifacts.files, noted, strict=True)
    )
