"""The content of files as SHA-256, remembered as long as the files do not change."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from graphexec.errors import MissingFileError, ModelFileError
from graphexec.graph.atomic import sweep, write_atomic

__all__ = ["FOLDER", "FileDigests", "prune_records"]

FOLDER = "files"
"""Where what is remembered of files lies, below the root of a cache."""

_RECORD = re.compile(r"[0-9a-f]{64}\.json")

_Identity = list[int]

RACY_NS = 2_000_000_000
"""The coarsest clock of a file system: what was written so recently may change again without showing it."""


BLOCK = 2**20
"""Large enough to cost nothing, small enough to stop at once."""


POLL_SECONDS = 0.05
"""How long a cancellation may go unseen while another thread hashes the same file."""


def _go_on() -> None:
    """For who never stops."""


class FileDigests:
    """Hashes files once: a result counts as long as size, times and inode of the file are the same.

    Args:
        root: a folder that processes share, in which results are remembered under `files/`; None: in memory only.
    """

    def __init__(self, root: str | Path | None) -> None:
        self._folder = None if root is None else Path(root).absolute() / FOLDER
        self._known: dict[str, tuple[_Identity, bytes]] = {}
        self._lock = threading.Lock()
        self._files: dict[str, threading.Lock] = {}
        """One for each file: others are hashed meanwhile."""

    def digest(self, path: Path, between: Callable[[], None] = _go_on) -> bytes:
        """SHA-256 of a file's content, or of a folder's: of the names and contents of all visible files below it.

        Args:
            path: the file or folder.
            between: called between the blocks of files that have to be read, and while another thread reads them; may
                raise Cancelled.

        Raises ModelFileError if it is not there or cannot be read.
        """
        try:
            if path.is_dir():
                return self._digest_folder(path, between)
            real = str(path.resolve(strict=True))
            return self._recall(real) or self._compute(real, between)
        except FileNotFoundError:
            raise MissingFileError(f"there is no file {path}") from None
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name that no file can have
            raise ModelFileError(f"the file {path} cannot be read: {getattr(error, 'strerror', error)}") from error

    def _digest_folder(self, path: Path, between: Callable[[], None]) -> bytes:
        files = sorted((each.relative_to(path).as_posix(), each) for each in _files_below(path))
        listing = [[name, self.digest(file, between).hex()] for name, file in files]
        return hashlib.sha256(json.dumps(listing).encode()).digest()

    def _recall(self, real: str) -> bytes | None:
        identity = _identity(real)
        known = self._known.get(real) or self._load(real)
        if known is None or known[0] != identity:
            return None
        self._known[real] = known
        return known[1]

    def _compute(self, real: str, between: Callable[[], None]) -> bytes:
        with self._lock:
            file = self._files.setdefault(real, threading.Lock())
        with _held(file, between):
            known = self._recall(real)  # another thread may have hashed it meanwhile
            if known is not None:
                return known
            begun = time.time_ns()
            before = _identity(real)
            digest = _sha256(real, between)
            if _identity(real) == before and before[1] < begun - RACY_NS:
                self._known[real] = before, digest
                self._save(real, before, digest)
            return digest

    def _place(self, folder: Path, real: str) -> Path:
        return folder / f"{hashlib.sha256(os.fsencode(real)).hexdigest()}.json"

    def _load(self, real: str) -> tuple[_Identity, bytes] | None:
        if self._folder is None:
            return None
        with suppress(OSError, ValueError, LookupError, TypeError):
            record = json.loads(self._place(self._folder, real).read_bytes())
            digest = bytes.fromhex(record["sha256"])
            if record["path"] == real and len(digest) == hashlib.sha256().digest_size:
                return list(record["identity"]), digest
        return None

    def _save(self, real: str, identity: _Identity, digest: bytes) -> None:
        if self._folder is None:
            return
        record = {"path": real, "identity": identity, "sha256": digest.hex()}
        with suppress(OSError):  # a memory that cannot be written costs time, nothing else
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(self._place(self._folder, real), [json.dumps(record).encode()], fsync=False)


def prune_records(root: Path, *, everything: bool = False) -> None:
    """Remove what is remembered of files that have changed or gone, or all of it. Raises OSError."""
    folder = root / FOLDER
    if not folder.is_dir():
        return
    with os.scandir(folder) as listing:
        entries = list(listing)
    sweep(entries)
    for entry in entries:
        if _RECORD.fullmatch(entry.name) and (everything or not _holds(Path(entry.path))):
            Path(entry.path).unlink(missing_ok=True)


def _holds(record: Path) -> bool:
    with suppress(OSError, ValueError, LookupError, TypeError):
        noted = json.loads(record.read_bytes())
        return noted["identity"] == _identity(noted["path"])
    return False


def _files_below(folder: Path) -> Iterator[Path]:
    """All files that are not hidden, behind links to folders too: nodes that look into a folder follow them."""
    pending: list[tuple[Path, tuple[str, ...]]] = [(folder, ())]
    while pending:
        place, above = pending.pop()
        real = os.path.realpath(place)
        for each in () if real in above else place.iterdir():
            if each.name.startswith("."):
                continue
            if each.is_dir():
                pending.append((each, (*above, real)))
            elif each.is_file():
                yield each


@contextmanager
def _held(lock: threading.Lock, between: Callable[[], None]) -> Generator[None]:
    while not lock.acquire(timeout=POLL_SECONDS):
        between()
    try:
        yield
    finally:
        lock.release()


def _sha256(real: str, between: Callable[[], None]) -> bytes:
    digest, block = hashlib.sha256(), memoryview(bytearray(BLOCK))
    with Path(real).open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
            between()
    return digest.digest()


def _identity(real: str) -> _Identity:
    """What changes when a file does: size, times of its content and of its entry in ns, inode. Raises OSError."""
    found = Path(real).stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(0, "it is not a regular file")
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
