"""A folder of results that processes share: found by key, verified on reading, the least recently used removed first.

    root/v1/ab/cdef….gx = magic, key, SHA-256 of the rest; the rest = length of the header, header (JSON), blobs

Entries are data: reading one calls nothing but the codecs that the store was given. A bad entry is no error, it is
removed and computed again. An entry is written beside its place and renamed, so none is ever seen in part.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphexec.errors import CacheError, GraphexecError, said
from graphexec.graph.atomic import is_temporary, sweep, write_atomic
from graphexec.graph.digests import FOLDER, prune_records
from graphexec.graph.encoding import Codec, Encoded, Undecodable, UnknownType, codec_table, decode, encode
from graphexec.node.boundary import Raised, attempt

__all__ = ["DiskStore", "Removed", "StoreInfo", "VerifyReport"]

DEFAULT_BYTES = 10 * 2**30
MAGIC = b"gxstore1"
_HEAD = 8 + 32 + 32
_ALIGN = 64
_TAG = "CACHEDIR.TAG"
_TAG_TEXT = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n"
    b"# graphexec keeps results here; deleting this folder costs time, nothing else.\n"
)
"""Tells backup programs to leave the folder out (bford.info/cachedir), and `clear` that it is ours."""
_OURS = frozenset({_TAG, "v1", FOLDER})
_SHARD = re.compile(r"[0-9a-f]{2}")
_ENTRY = re.compile(r"[0-9a-f]{62}\.gx")
_LEDGER = re.compile(rb"([0-9]{1,18}\n)+")

Report = Callable[[Path, str], None]


def _ignore(path: Path, reason: str) -> None:
    """Report nothing."""


class _BadEntry(Exception):
    """What lies in an entry's place is not that entry."""


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store holds."""

    root: Path
    entries: int
    bytes: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed from a store."""

    entries: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """How many entries are as they were written, and which were not and are gone."""

    ok: int
    dropped: tuple[Path, ...]


class DiskStore:
    """Results on disk, addressed by 32-byte keys; any number of threads and processes may use one root.

    Args:
        root: made when the first result is stored, for its owner alone.
        codecs: for classes beyond the built-in ones.
        max_bytes: of all entries together.
        on_drop: told of each entry that was damaged and is removed.
        on_problem: told of each result that could not be stored or read.

    Raises CacheError if root is a folder of something else.
    """

    def __init__(
        self,
        root: str | Path,
        codecs: Iterable[Codec] = (),
        max_bytes: int = DEFAULT_BYTES,
        *,
        on_drop: Report = _ignore,
        on_problem: Report = _ignore,
    ) -> None:
        self.root = Path(root).absolute()
        self.max_bytes = max_bytes
        self._codecs = codec_table(codecs)
        self._on_drop = on_drop
        self._on_problem = on_problem
        self._home = self.root / "v1"
        self._ledger = self._home / "ledger"
        self._prefix = f"{self._home}{os.sep}"
        self._lock = threading.Lock()
        self._room = 0
        with self._usable():
            _refuse_foreign(self.root)

    def get(self, key: bytes) -> Any | None:
        """The value stored under a key; None if there is none, or none that can be used."""
        name = self._name(key)
        try:
            data = _read(name)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._on_problem(Path(name), f"cannot be read: {error.strerror}")
            return None
        try:
            return decode(*_open(data, key), self._codecs)
        except (GraphexecError, UnknownType):
            return None
        except (_BadEntry, Undecodable) as error:
            self._drop(Path(name), str(error))
            return None

    def contains(self, key: bytes) -> bool:
        """Whether there is an entry, good or bad."""
        return Path(self._name(key)).exists()

    def put(self, key: bytes, value: Any) -> bool:
        """Store a value; False if it could not be, because of what it is or because of the disk."""
        path = Path(self._name(key))
        packed = attempt(self._packed, {"key": key, "value": value})
        if isinstance(packed, Raised):
            self._on_problem(path, f"cannot be stored: {said(packed.error)}")
            return False
        if packed is None:
            return False
        chunks, size = packed
        try:
            if size > self.max_bytes:
                self._on_problem(path, f"{size} bytes are more than the whole cache may hold ({self.max_bytes})")
                return False
            self._make_room(size)
            self._write(path, chunks)
        except OSError as error:
            self._on_problem(path, f"cannot be written: {error.strerror}")
            return False
        except CacheError as error:
            self._on_problem(path, str(error))
            return False
        return True

    def info(self) -> StoreInfo:
        """Count the entries. Raises CacheError if the folder cannot be read."""
        with self._usable():
            sizes = [size for _, size, _ in self._entries()]
        return StoreInfo(self.root, len(sizes), sum(sizes), self.max_bytes)

    def gc(self, max_bytes: int | None = None) -> Removed:
        """Remove entries, least recently used first, until `max_bytes` are left, and what killed processes left.

        What is remembered of model files that have changed or gone goes too.

        Raises CacheError if the folder cannot be read.
        """
        with self._usable():
            prune_records(self.root)
            return self._shrink(self.max_bytes if max_bytes is None else max_bytes)

    def verify(self) -> VerifyReport:
        """Read every entry and remove those that are damaged. Raises CacheError if the folder cannot be read."""
        ok, dropped = 0, list[Path]()
        with self._usable():
            for _, _, name in self._entries():
                path = Path(name)
                with suppress(FileNotFoundError):  # another process has removed it
                    data = _read(name, touch=False)
                    try:
                        _open(data, bytes.fromhex(path.parent.name + path.stem))
                        ok += 1
                    except _BadEntry as error:
                        self._drop(path, str(error))
                        dropped.append(path)
        return VerifyReport(ok, tuple(dropped))

    def clear(self) -> Removed:
        """Remove every entry and what is remembered of model files; what the store would not name so stays.

        Raises CacheError if the folder cannot be changed.
        """
        with self._usable():
            prune_records(self.root, everything=True)
            removed = self._shrink(0)
            for shard in self._shards():
                for entry in _listed(shard):
                    if is_temporary(entry.name):
                        Path(entry.path).unlink(missing_ok=True)
                with suppress(OSError):  # it is not empty
                    shard.rmdir()
        return removed

    def _packed(self, key: bytes, value: Any) -> tuple[list[bytes | memoryview], int] | None:
        """A value as the pieces of an entry's file; None if it has no codec. Raises whatever a codec raises."""
        encoded = encode(value, self._codecs)
        return None if encoded is None else _pack(encoded, key)

    def _name(self, key: bytes) -> str:
        name = key.hex()
        return f"{self._prefix}{name[:2]}{os.sep}{name[2:]}.gx"

    def _drop(self, path: Path, reason: str) -> None:
        self._on_drop(path, reason)
        with suppress(OSError):
            path.unlink()

    def _write(self, path: Path, chunks: Sequence[bytes | memoryview]) -> None:
        try:
            write_atomic(path, chunks, fsync=False)
        except FileNotFoundError:
            self._make_home()
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomic(path, chunks, fsync=False)

    def _make_home(self) -> None:
        _refuse_foreign(self.root)
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._home.mkdir(mode=0o700, exist_ok=True)
        if not (self.root / _TAG).exists():
            write_atomic(self.root / _TAG, [_TAG_TEXT], fsync=False)

    def _make_room(self, size: int) -> None:
        """Let `size` more bytes in.

        Measuring a folder of 100,000 entries takes a second. So there is a ledger: what was there when it was last
        measured, and a line for each hundredth of the limit that some process took for what it would write since.
        """
        with self._lock:
            if size > self._room:
                share = max(size, self.max_bytes // 100)
                if self._claimed() + share > self.max_bytes:
                    self._shrink(min(self.max_bytes * 9 // 10, self.max_bytes - share))
                with self._ledger.open("ab") as ledger:
                    ledger.write(b"%d\n" % share)
                self._room = share
            self._room -= size

    def _claimed(self) -> int:
        """How many bytes there are at most, as far as the ledger knows."""
        try:
            text = self._ledger.read_bytes()
        except FileNotFoundError:
            self._make_home()
            return self.max_bytes
        return sum(map(int, text.split())) if _LEDGER.fullmatch(text) else self.max_bytes

    def _shrink(self, limit: int) -> Removed:
        """Remove the least recently used until `limit` bytes are left."""
        for shard in self._shards():
            sweep(_listed(shard))
        entries = sorted(self._entries())
        left = sum(size for _, size, _ in entries)
        removed = Removed()
        for _, size, path in entries:
            if left <= limit:
                break
            Path(path).unlink(missing_ok=True)
            left -= size
            removed = Removed(removed.entries + 1, removed.bytes + size)
        if self._home.exists():
            write_atomic(self._ledger, [b"%d\n" % left], fsync=False)
        return removed

    def _shards(self) -> list[Path]:
        return [Path(entry.path) for entry in _listed(self._home) if _SHARD.fullmatch(entry.name)]

    def _entries(self) -> Iterator[tuple[int, int, str]]:
        """When each entry was last used, its size and its path."""
        for shard in self._shards():
            for entry in _listed(shard):
                if _ENTRY.fullmatch(entry.name):
                    with suppress(FileNotFoundError):  # another process has removed it
                        stat = entry.stat(follow_symlinks=False)
                        yield stat.st_mtime_ns, stat.st_size, entry.path

    @contextmanager
    def _usable(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise CacheError(f"the cache folder {self.root} cannot be used: {error.strerror or error}") from error


def _refuse_foreign(root: Path) -> None:
    """Raise CacheError if a folder holds anything but a cache, or OSError if it cannot be told."""
    try:
        if (root / _TAG).read_bytes() == _TAG_TEXT:
            return
    except FileNotFoundError:
        pass
    strange = sorted({entry.name for entry in _listed(root) if not is_temporary(entry.name)} - _OURS)
    if strange:
        message = f"{root} is no cache folder of graphexec: it holds {strange[0]}; name an empty or a new folder"
        raise CacheError(message)


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _read(name: str, *, touch: bool = True) -> memoryview:
    """The bytes of a file, writable, for tensors that take them over without a copy."""
    with io.FileIO(name) as file:
        data = memoryview(bytearray(os.fstat(file.fileno()).st_size))
        done = 0
        while count := file.readinto(data[done:]):
            done += count
    if touch:
        now = time.time_ns()
        with suppress(OSError):  # a cache may be shared read-only
            os.utime(name, ns=(now, now))
    return data


def _pack(encoded: Encoded, key: bytes) -> tuple[list[bytes | memoryview], int]:
    """The pieces of an entry's file, and how long they are together."""
    blobs = [memoryview(blob).cast("B") for blob in encoded.blobs]
    header = json.dumps({"tokens": encoded.tokens, "blobs": [len(blob) for blob in blobs]}).encode("ascii")
    rest: list[bytes | memoryview] = [len(header).to_bytes(8, "little"), header]
    end = _HEAD + 8 + len(header)
    for blob in blobs:
        padding = -end % _ALIGN
        rest += [bytes(padding), blob]
        end += padding + len(blob)
    digest = hashlib.sha256()
    for piece in rest:
        digest.update(piece)
    return [MAGIC, key, digest.digest(), *rest], end


def _open(data: memoryview, key: bytes) -> tuple[list[Any], list[memoryview]]:
    """The tokens and blobs of an entry's file. Raises _BadEntry."""
    if len(data) < _HEAD + 8:
        raise _BadEntry("it is cut off")
    head = bytes(data[:_HEAD])
    if head[:8] != MAGIC:
        raise _BadEntry("it is no cache entry")
    if head[8:40] != key:
        raise _BadEntry("it is the entry of another key")
    if hashlib.sha256(data[_HEAD:]).digest() != head[40:]:
        raise _BadEntry("its checksum is wrong")
    end = _HEAD + 8 + int.from_bytes(data[_HEAD : _HEAD + 8], "little")
    try:
        header: Mapping[str, list[Any]] = json.loads(str(data[_HEAD + 8 : end], "ascii"))
        return header["tokens"], _blobs(data, end, header["blobs"])
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        raise _BadEntry(f"its header cannot be read: {error}") from error


def _blobs(data: memoryview, start: int, lengths: Sequence[int]) -> list[memoryview]:
    blobs: list[memoryview] = []
    for length in lengths:
        start += -start % _ALIGN
        if length < 0 or start + length > len(data):
            raise ValueError("a blob lies outside the file")
        blobs.append(data[start : start + length])
        start += length
    return blobs
