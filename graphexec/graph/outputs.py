"""Places the files that nodes make: numbered as ComfyUI numbers them, whole or not at all, never over another file."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, count
from pathlib import Path

from graphexec.errors import OutputError
from graphexec.graph.atomic import claim, need_writable, sweep, temporary
from graphexec.graph.prefixes import BATCH, OUTSIDE, expand_prefix, numbered, path_parts, prefix_fault
from graphexec.node.fields import Artifact, Artifacts

__all__ = ["OutputFolder", "PublishedRecord"]


@dataclass(frozen=True, slots=True)
class PublishedRecord:
    """Which files were published, and their content: enough to tell later whether they are still the same."""

    files: tuple[tuple[str, int, bytes], ...]
    """Path, size, SHA-256."""

    @classmethod
    def record(cls, paths: Iterable[Path]) -> PublishedRecord:
        """Note files as they are now. Raises OutputError if one cannot be read."""
        return cls(tuple(_describe(path) for path in paths))

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the files were."""
        return tuple(Path(path) for path, _, _ in self.files)

    def still_there(self) -> tuple[Path, ...] | None:
        """The files, if every one is as it was; None if not."""
        for path, size, digest in self.files:
            try:
                if Path(path).stat().st_size != size or _sha256(Path(path)) != digest:
                    return None
            except OSError:
                return None
        return self.paths


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """A folder that files are published in; it is made when the first one is."""

    root: Path
    now: Callable[[], datetime] = datetime.now

    def check(self, prefix: str) -> None:
        """Raises OutputError where it is plain that no file of this prefix can be written; makes nothing."""
        with _reported(prefix, self.root):
            folder, _ = _Batch(self.root.absolute(), self.now()).place(Artifact(b"", prefix))
            need_writable(folder)

    def publish(self, artifacts: Artifacts, names: Sequence[Path] = ()) -> tuple[Path, ...]:
        """Write the files of an output node, each under the next free number of its prefix.

        Args:
            artifacts: `%year%`, `%width%`, `%date:yyyy-MM-dd%`, `%batch_num%` and the like in their prefixes are
                replaced; those meant for the temp folder go to `temp` in this one.
            names: where the same files were earlier; one that is unchanged stays, a name that is free is used again.

        Raises OutputError if a prefix leaves the folder, cannot be a file name, or the disk refuses; the files before
        it stay.
        """
        earlier = names if len(names) == len(artifacts.files) else [None] * len(artifacts.files)
        batch = _Batch(self.root.absolute(), self.now())
        return tuple(batch.publish(artifact, name) for artifact, name in zip(artifacts.files, earlier, strict=True))


@dataclass(frozen=True, slots=True)
class _Batch:
    """The files of one node, which share a moment and take consecutive numbers."""

    root: Path
    now: datetime
    numbers: dict[tuple[Path, str], Iterator[int]] = field(default_factory=dict[tuple[Path, str], Iterator[int]])

    def publish(self, artifact: Artifact, earlier: Path | None) -> Path:
        with _reported(artifact.prefix, self.root):
            folder, stem = self.place(artifact)
            folder.mkdir(parents=True, exist_ok=True)
            if (folder, stem) not in self.numbers:
                self.numbers[folder, stem] = count(_highest_number(folder, stem) + 1)
            name = stem.replace(BATCH, str(artifact.place))
            paths = (folder / numbered(name, number, artifact.suffix) for number in self.numbers[folder, stem])
            again = [earlier] if earlier is not None and _fits(earlier, folder, name, artifact.suffix) else []
            if again and _holds(again[0], artifact):
                return again[0]
            with temporary(folder, artifact.pieces(), fsync=True) as written:
                return next(path for path in chain(again, paths) if claim(written, path))

    def place(self, artifact: Artifact) -> tuple[Path, str]:
        """The folder, and the name without its number. Raises OutputError."""
        path = expand_prefix(artifact.prefix, self.now, artifact.width, artifact.height)
        parts = path_parts(path)
        base = self.root / "temp" if artifact.folder == "temp" else self.root
        folder = base.joinpath(*parts[:-1])
        fault = prefix_fault(path, artifact.suffix)
        if fault is None and not folder.resolve().is_relative_to(base.resolve()):
            fault = OUTSIDE
        if fault is not None:
            raise OutputError(
                f"the file name prefix {artifact.prefix!r} {fault.what}; {fault.hint} (output folder {base})"
            )
        return folder, parts[-1] if parts else ""


def _highest_number(folder: Path, stem: str) -> int:
    """The highest number that a file of this name has, 0 if there is none; as ComfyUI counts."""
    literal = (re.escape(os.path.normcase(part)) for part in stem.split(BATCH))
    numbered = re.compile("[0-9]+".join(literal) + "_([0-9]+)(?:_|$)")
    with os.scandir(folder) as listing:
        entries = list(listing)
    sweep(entries)
    found = (numbered.match(os.path.normcase(entry.name)) for entry in entries)
    return max((int(match.group(1)) for match in found if match), default=0)


def _fits(path: Path, folder: Path, name: str, suffix: str) -> bool:
    """Whether a file could have got this path."""
    numbered = re.escape(name) + "_[0-9]{5,}_" + re.escape(suffix)
    return path.parent == folder and re.fullmatch(numbered, path.name) is not None


def _holds(path: Path, artifact: Artifact) -> bool:
    """Whether a file has the content of an artifact, as far as that can be told without making it."""
    data = artifact.data
    return isinstance(data, bytes) and path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


@contextmanager
def _reported(prefix: str, root: Path) -> Generator[None]:
    try:
        yield
    except (OSError, RuntimeError, UnicodeError) as error:  # RuntimeError: a loop of links
        place = getattr(error, "filename2", None) or getattr(error, "filename", None) or root
        why = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{place} cannot be written (file name prefix {prefix!r}, output folder {root}): {why}"
        ) from error


def _describe(path: Path) -> tuple[str, int, bytes]:
    try:
        return str(path.absolute()), path.stat().st_size, _sha256(path)
    except OSError as error:
        raise OutputError(f"the output file {path} cannot be read: {error.strerror}") from error


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
