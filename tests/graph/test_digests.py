from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from graphexec.errors import Cancelled, ModelFileError
from graphexec.graph.context import CancelToken
from graphexec.graph.digests import BLOCK, FileDigests

FORGED = "ab" * 32


def aged(path: Path, data: bytes) -> Path:
    """A file that was written an hour ago."""
    path.write_bytes(data)
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    return path


def records(root: Path) -> list[Path]:
    return sorted((root / "files").glob("*"))


def forge(root: Path, **changes: object) -> None:
    """Change the one record on disk, so that it shows when it is used."""
    (path,) = records(root)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("data", [b"", b"weights", bytes(3_000_001)], ids=len)
def test_the_digest_is_that_of_the_content(tmp_path: Path, data: bytes) -> None:
    path = aged(tmp_path / "a.safetensors", data)
    digests = FileDigests(tmp_path / "cache")
    assert [digests.digest(path) for _ in range(2)] == [hashlib.sha256(data).digest()] * 2


def test_it_stops_between_two_blocks_of_a_file(tmp_path: Path) -> None:
    path = aged(tmp_path / "a", bytes(3 * BLOCK))
    token = CancelToken()
    blocks: list[bool] = []

    def between() -> None:
        blocks.append(token.cancelled)
        token.check()
        token.cancel()

    digests = FileDigests(tmp_path / "cache")
    with pytest.raises(Cancelled):
        digests.digest(path, between)
    assert blocks == [False, True]
    assert digests.digest(path) == hashlib.sha256(path.read_bytes()).digest()


def test_other_files_are_hashed_meanwhile(tmp_path: Path) -> None:
    large, small = aged(tmp_path / "large", b"much"), aged(tmp_path / "small", b"little")
    digests, found = FileDigests(None), list[bytes]()
    with ThreadPoolExecutor(1) as pool:
        digests.digest(large, lambda: found.append(pool.submit(digests.digest, small).result(60)))
    assert found == [hashlib.sha256(b"little").digest()]


def test_who_waits_for_another_thread_can_be_stopped(tmp_path: Path) -> None:
    path = aged(tmp_path / "a", b"weights")
    token, digests, stopped = CancelToken(), FileDigests(None), list[BaseException | None]()
    token.cancel()
    with ThreadPoolExecutor(1) as pool:
        digests.digest(path, lambda: stopped.append(pool.submit(digests.digest, path, token.check).exception(60)))
    assert isinstance(stopped[0], Cancelled)


def test_a_result_is_remembered_across_processes(tmp_path: Path) -> None:
    path = aged(tmp_path / "a", b"weights")
    FileDigests(f"{tmp_path}/cache").digest(path)
    forge(tmp_path / "cache", sha256=FORGED)
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "link", "../" + tmp_path.name + "/a"):
        assert FileDigests(tmp_path / "cache").digest(tmp_path / name).hex() == FORGED
    assert FileDigests(None).digest(path) == hashlib.sha256(b"weights").digest()


def test_a_result_is_remembered_in_memory(tmp_path: Path) -> None:
    path = aged(tmp_path / "a", b"weights")
    digests = FileDigests(tmp_path / "cache")
    before = digests.digest(path)
    forge(tmp_path / "cache", sha256=FORGED)
    assert digests.digest(path) == before


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    path = aged(tmp_path / "a", b"weights")
    digests = FileDigests(tmp_path / "cache")
    digests.digest(path)
    times = path.stat()
    path.write_bytes(b"WEIGHTS")
    assert digests.digest(path) == hashlib.sha256(b"WEIGHTS").digest()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as some tools that copy files do
    assert digests.digest(path) == hashlib.sha256(b"WEIGHTS").digest()
    path.unlink()
    aged(path, b"another file")
    assert digests.digest(path) == hashlib.sha256(b"another file").digest()


def test_what_was_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "a"
    digests = FileDigests(tmp_path / "cache")
    for data in (b"first", b"other"):  # within one tick of a coarse clock
        path.write_bytes(data)
        assert digests.digest(path) == hashlib.sha256(data).digest()
    assert records(tmp_path / "cache") == []


@pytest.mark.parametrize(
    "changes",
    [{"sha256": "ab"}, {"sha256": 3}, {"path": "/elsewhere"}, {"identity": [1, 2, 3, 4]}, {"identity": None}],
    ids=str,
)
def test_a_damaged_record_is_written_anew(tmp_path: Path, changes: dict[str, object]) -> None:
    path = aged(tmp_path / "a", b"weights")
    good = FileDigests(tmp_path / "cache").digest(path)
    (record,) = records(tmp_path / "cache")
    text = record.read_text()
    forge(tmp_path / "cache", **changes)
    assert FileDigests(tmp_path / "cache").digest(path) == good
    assert record.read_text() == text
    record.write_bytes(b"\xff{")
    assert FileDigests(tmp_path / "cache").digest(path) == good
    assert record.read_text() == text


def test_a_memory_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    path = aged(tmp_path / "a", b"weights")
    (tmp_path / "cache").touch()
    assert FileDigests(tmp_path / "cache").digest(path) == hashlib.sha256(b"weights").digest()


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    for name, why in {
        "missing": "there is no file",
        "pipe": "not a regular file",
        "loop": "cannot be read",
        "a\0b": "cannot be read",
    }.items():
        with pytest.raises(ModelFileError, match=why):
            FileDigests(None).digest(tmp_path / name)


def test_threads_share_digests(tmp_path: Path) -> None:
    paths = [aged(tmp_path / str(number), b"%d" % number) for number in range(5)]
    digests = FileDigests(tmp_path / "cache")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(digests.digest, paths * 20))
    assert found == [hashlib.sha256(b"%d" % number).digest() for number in range(5)] * 20
    assert len(records(tmp_path / "cache")) == 5


def test_a_folder_is_its_files_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "sub/b").write_bytes(b"2")
    digests = FileDigests(None)
    before = digests.digest(tmp_path)
    (tmp_path / ".hidden").write_bytes(b"x")
    assert digests.digest(tmp_path) == before
    (tmp_path / "sub/b").write_bytes(b"3")
    changed = digests.digest(tmp_path)
    (tmp_path / "sub/b").rename(tmp_path / "sub/c")
    assert len({before, changed, digests.digest(tmp_path)}) == 3


def test_a_folder_is_what_its_links_lead_to(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "input", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "a").write_bytes(b"1")
    (elsewhere / "round").symlink_to(folder)
    (folder / "10_cat").symlink_to(elsewhere)
    digests = FileDigests(None)
    before = digests.digest(folder)
    (elsewhere / "a").write_bytes(b"2")
    assert digests.digest(folder) != before
