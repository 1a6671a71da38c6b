from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from graphexec.errors import CacheError, ModelFileError
from graphexec.graph.atomic import temporary
from graphexec.graph.digests import FileDigests
from graphexec.graph.encoding import type_name
from graphexec.graph.store import MAGIC, DiskStore, Removed

VALUE: Any = ([b"blob", 1, 1.0, True], ["text", {"a": (None,)}])


def key(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


class Reports(list[tuple[str, str]]):
    def __call__(self, path: Path, reason: str) -> None:
        self.append((path.name, reason))


class Reference:
    """Stands for a recipe whose file may change."""


class ReferenceCodec:
    type_name = type_name(Reference)
    fresh = True

    def dump(self, value: Reference) -> tuple[Any, list[bytes]]:
        return None, []

    def load(self, tree: object, blobs: list[memoryview]) -> Reference:
        if not self.fresh:
            raise ModelFileError("the file has changed")
        return Reference()


@pytest.fixture
def dropped() -> Reports:
    return Reports()


@pytest.fixture
def problems() -> Reports:
    return Reports()


@pytest.fixture
def store(tmp_path: Path, dropped: Reports, problems: Reports) -> DiskStore:
    return DiskStore(tmp_path / "cache", on_drop=dropped, on_problem=problems)


def entry(store: DiskStore, number: int = 1) -> Path:
    name = key(number).hex()
    return store.root / "v1" / name[:2] / f"{name[2:]}.gx"


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_put_is_got(store: DiskStore, tmp_path: Path) -> None:
    assert store.get(key(1)) is None
    assert not store.contains(key(1))
    assert store.put(key(1), VALUE)
    assert store.contains(key(1))
    assert repr(DiskStore(tmp_path / "cache").get(key(1))) == repr(VALUE)
    assert store.get(key(2)) is None
    assert store.put(key(1), "other")
    assert store.get(key(1)) == "other"


def test_the_root_may_be_a_string(tmp_path: Path) -> None:
    DiskStore(f"{tmp_path}/cache").put(key(1), VALUE)
    assert DiskStore(tmp_path / "cache").get(key(1)) == VALUE


def test_nothing_is_made_before_something_is_put(store: DiskStore) -> None:
    store.get(key(1))
    assert (store.info().entries, store.gc(), store.clear(), store.verify().ok) == (0, Removed(), Removed(), 0)
    assert not store.root.exists()


def test_the_folder_is_for_its_owner_and_not_for_backups(store: DiskStore) -> None:
    store.put(key(1), VALUE)
    for folder in (store.root, store.root / "v1", entry(store).parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (store.root / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")


def test_blobs_are_aligned_and_writable(tmp_path: Path) -> None:
    class Tensor:
        pass

    class TensorCodec:
        type_name = type_name(Tensor)

        def dump(self, value: Tensor) -> tuple[Any, list[bytes]]:
            return None, [b"x", b"", b"abc" * 50]

        def load(self, tree: object, blobs: list[memoryview]) -> list[memoryview]:
            return blobs

    store = DiskStore(tmp_path / "cache", [TensorCodec()])
    store.put(key(1), Tensor())
    blobs: Any = store.get(key(1))
    data = entry(store).read_bytes()
    assert [bytes(blob) for blob in blobs] == [b"x", b"", b"abc" * 50]
    assert data.index(b"abcabc") % 64 == 0
    assert not blobs[0].readonly


def test_what_cannot_be_encoded_is_not_stored(store: DiskStore, problems: Reports) -> None:
    assert not store.put(key(1), [object()])
    assert not store.contains(key(1))
    assert problems == []


@pytest.mark.parametrize("error", [TypeError("no bytes"), KeyError("x"), ModelFileError("it is gone"), MemoryError()])
def test_what_a_codec_cannot_write_is_told_and_not_stored(tmp_path: Path, problems: Reports, error: Exception) -> None:
    class BrokenCodec(ReferenceCodec):
        def dump(self, value: Reference) -> tuple[Any, list[bytes]]:
            raise error

    store = DiskStore(tmp_path / "cache", [BrokenCodec()], on_problem=problems)
    assert not store.put(key(1), Reference())
    assert [reason for _, reason in problems] == [f"cannot be stored: {str(error) or 'MemoryError'}"]


# Damage


def test_every_flipped_bit_is_found(store: DiskStore, dropped: Reports) -> None:
    store.put(key(1), VALUE)
    good = entry(store).read_bytes()
    bits = random.Random(0).sample(range(len(good) * 8), 400)
    for bit in bits:
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        entry(store).write_bytes(bad)
        assert store.get(key(1)) is None, bit
        assert not entry(store).exists(), bit
    assert len(dropped) == len(bits)


def test_every_truncation_and_extension_is_found(store: DiskStore) -> None:
    store.put(key(1), VALUE)
    good = entry(store).read_bytes()
    for bad in [*(good[:length] for length in range(len(good))), good + b"\0"]:
        entry(store).write_bytes(bad)
        assert store.get(key(1)) is None
        assert not store.contains(key(1))


def test_the_entry_of_another_key_is_not_taken(store: DiskStore, dropped: Reports) -> None:
    for number in (1, 2):
        store.put(key(number), number)
    shutil.copy(entry(store, 2), entry(store, 1))
    assert store.get(key(1)) is None
    assert store.get(key(2)) == 2
    assert dropped == [(entry(store, 1).name, "it is the entry of another key")]


def forged(header: object, blobs: bytes = b"") -> bytes:
    """An entry with a right checksum and whatever header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    rest = len(text).to_bytes(8, "little") + text + blobs
    return MAGIC + key(1) + hashlib.sha256(rest).digest() + rest


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff",
        b"{",
        b"[" * 100_000,
        [],
        {"tokens": [1]},
        {"tokens": 1, "blobs": []},
        {"tokens": [1], "blobs": [5]},
        {"tokens": [1], "blobs": [-1]},
        {"tokens": [1], "blobs": ["1"]},
        {"tokens": [["b", 0]], "blobs": []},
        {"tokens": [["eval", "1"]], "blobs": []},
        {"tokens": [1, 2], "blobs": []},
    ],
    ids=lambda header: str(header)[:30],
)
def test_a_header_that_makes_no_sense_is_dropped(store: DiskStore, dropped: Reports, header: object) -> None:
    store.put(key(1), VALUE)
    entry(store).write_bytes(forged(header))
    assert store.get(key(1)) is None
    assert len(dropped) == 1
    entry(store).write_bytes(forged({"tokens": [7], "blobs": []}))
    assert store.get(key(1)) == 7


def test_a_reference_that_no_longer_holds_is_a_miss_and_no_damage(tmp_path: Path, dropped: Reports) -> None:
    codec = ReferenceCodec()
    store = DiskStore(tmp_path / "cache", [codec], on_drop=dropped)
    store.put(key(1), [Reference()])
    found: Any = store.get(key(1))
    assert type(found[0]) is Reference
    codec.fresh = False
    assert store.get(key(1)) is None
    assert DiskStore(tmp_path / "cache", on_drop=dropped).get(key(1)) is None
    assert dropped == []
    assert store.contains(key(1))


def test_verify_reads_everything_and_removes_what_is_damaged(store: DiskStore, dropped: Reports) -> None:
    for number in range(5):
        store.put(key(number), number)
    used = entry(store, 0).stat().st_mtime_ns
    entry(store, 3).write_bytes(b"")
    entry(store, 4).write_bytes(entry(store, 2).read_bytes())
    report = store.verify()
    assert (report.ok, set(report.dropped)) == (3, {entry(store, 3), entry(store, 4)})
    assert sorted(reason for _, reason in dropped) == ["it is cut off", "it is the entry of another key"]
    assert store.info().entries == 3
    assert entry(store, 0).stat().st_mtime_ns == used


# The disk refuses


def test_a_full_disk_is_reported_and_leaves_nothing(store: DiskStore, problems: Reports) -> None:
    store.put(key(1), VALUE)
    before = tree(store.root)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        assert not store.put(key(2), b"x" * 50_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert problems == [(entry(store, 2).name, "cannot be written: File too large")]
    assert tree(store.root) == before


def test_a_folder_that_cannot_be_written_or_read_is_reported(store: DiskStore, problems: Reports) -> None:
    store.root.mkdir()
    (store.root / "v1").write_text("a file, where the folder should be")
    assert not store.put(key(1), VALUE)
    assert store.get(key(1)) is None
    assert [reason for _, reason in problems] == [
        "cannot be written: Not a directory",
        "cannot be read: Not a directory",
    ]
    with pytest.raises(CacheError, match="Not a directory"):
        store.info()


@pytest.mark.parametrize("name", ["thesis.doc", "v1/../src/main.c"])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    for path in (tmp_path / "v1", (tmp_path / name).parent):
        path.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    before = tree(tmp_path)
    with pytest.raises(CacheError, match=r"no cache folder of graphexec: it holds (thesis.doc|src)"):
        DiskStore(tmp_path)
    assert tree(tmp_path) == before


def test_a_folder_that_another_process_is_making_is_none_of_something_else(tmp_path: Path) -> None:
    with temporary(tmp_path, [b"the tag, before it has its name"], fsync=False):
        assert DiskStore(tmp_path).put(key(1), VALUE)


def test_a_file_is_refused_as_root(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(CacheError, match="Not a directory"):
        DiskStore(tmp_path / "cache")


def test_clear_removes_only_entries(store: DiskStore) -> None:
    for number in range(3):
        store.put(key(number), number)
    size = store.info().bytes
    strange = [store.root / "notes.txt", store.root / "v1/notes.txt", entry(store).parent / "notes.gx"]
    for path in strange:
        path.touch()
    assert DiskStore(store.root).clear() == Removed(3, size)
    assert tree(store.root) == {"CACHEDIR.TAG", "v1/ledger", *(str(path.relative_to(store.root)) for path in strange)}
    assert sum(path.is_dir() for path in (store.root / "v1").iterdir()) == 1


# Size


def test_the_least_recently_used_goes_first(store: DiskStore) -> None:
    for number in range(4):
        store.put(key(number), b"x" * 1000)
        os.utime(entry(store, number), (number, number))
    size = store.info().bytes // 4
    assert store.get(key(0)) is not None
    assert store.gc(2 * size) == Removed(2, 2 * size)
    assert [store.contains(key(number)) for number in range(4)] == [True, False, False, True]
    assert store.gc() == Removed()


def test_puts_keep_the_folder_below_its_limit(tmp_path: Path, problems: Reports) -> None:
    store = DiskStore(tmp_path / "cache", max_bytes=20_000, on_problem=problems)
    for number in range(60):
        assert store.put(key(number), bytes(number * 20))
        assert store.contains(key(number))
        assert store.info().bytes <= 20_000
    assert store.info().entries > 8
    assert not store.put(key(100), bytes(20_000))
    assert "more than the whole cache" in problems[0][1]


@pytest.mark.parametrize("stores", [2, 60])
def test_many_stores_share_one_limit(tmp_path: Path, stores: int) -> None:
    users = [DiskStore(tmp_path / "cache", max_bytes=20_000) for _ in range(stores)]
    for number in range(60):
        assert users[number % stores].put(key(number), bytes(500))
        assert users[0].info().bytes <= 20_000
    assert users[0].info().entries > 15


@pytest.mark.parametrize("damage", [b"", b"many", b"-5000000\n", b"1", b"\xff"])
def test_a_damaged_ledger_costs_a_measurement_and_nothing_else(
    tmp_path: Path, problems: Reports, damage: bytes
) -> None:
    for number in range(60):
        store = DiskStore(tmp_path / "cache", max_bytes=20_000, on_problem=problems)
        assert store.put(key(number), bytes(500))
        (store.root / "v1/ledger").write_bytes(damage)
        assert store.info().bytes <= 20_000
    assert problems == []


def test_what_is_remembered_of_model_files_goes_once_it_is_of_no_use(store: DiskStore, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("kept", "gone", "changed")]
    for path in paths:
        path.write_bytes(b"weights")
        os.utime(path, (1, 1))
        FileDigests(store.root).digest(path)
    paths[1].unlink()
    paths[2].write_bytes(b"other weights")
    files = store.root / "files"
    (files / "notes.txt").touch()
    store.gc()
    assert sorted(json.loads(path.read_bytes())["path"] for path in files.glob("*.json")) == [str(paths[0])]
    store.clear()
    assert [path.name for path in files.iterdir()] == ["notes.txt"]


def test_leftovers_of_killed_processes_are_collected(store: DiskStore) -> None:
    store.put(key(1), VALUE)
    old, new = (entry(store).with_name(f".{digit * 32}.gx-tmp") for digit in "ab")
    for path in (old, new):
        path.touch()
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    assert store.gc() == Removed()
    assert (old.exists(), new.exists(), store.info().entries) == (False, True, 1)
    store.clear()
    assert not new.exists()


# At once


def test_threads_share_a_store(store: DiskStore, dropped: Reports, problems: Reports) -> None:
    def work(seed: int) -> None:
        for step in range(40):
            number = (seed * step) % 7
            store.put(key(number), (number, b"x" * 2000))
            assert store.get(key(number)) == (number, b"x" * 2000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert (dropped, problems) == ([], [])


WORKER = """
import sys
from pathlib import Path
from graphexec.graph.store import DiskStore
def fail(path, reason):
    sys.exit(f"{path}: {reason}")
store = DiskStore(Path(sys.argv[1]), max_bytes=200_000, on_drop=fail, on_problem=fail)
for step in range(300):
    key = bytes([step % 60]) * 32
    found = store.get(key)
    assert found is None or found == (step % 60, bytes(5000)), found
    assert store.put(key, (step % 60, bytes(5000)))
    if step % 100 == 99:
        store.gc(100_000)
"""


def test_processes_share_a_store(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path / "cache")]
    workers = [subprocess.Popen(command) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    store = DiskStore(tmp_path / "cache", max_bytes=200_000)
    assert 0 < store.verify().ok == store.info().entries
    assert store.info().bytes <= 200_000
