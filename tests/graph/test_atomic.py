from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphexec.graph.atomic import claim, is_temporary, sweep, temporary, write_atomic


def listed(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_the_chunks_become_one_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", [b"one", memoryview(b"two"), b""], fsync=True)
    assert (tmp_path / "a").read_bytes() == b"onetwo"
    assert listed(tmp_path) == ["a"]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"something longer")
    write_atomic(tmp_path / "a", [b"new"], fsync=False)
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise OSError("the disk is gone")

    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OSError, match="the disk is gone"):
        write_atomic(tmp_path / "a", chunks(), fsync=False)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert listed(tmp_path) == ["a"]


def test_the_file_has_the_rights_that_any_new_file_has(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_atomic(tmp_path / "a", [b""], fsync=False)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def no_links(source: Path, target: Path) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_a_name_is_got_once_and_what_has_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "dangling").symlink_to("nowhere")
    with temporary(tmp_path, [b"one"], fsync=False) as one, temporary(tmp_path, [b"two"], fsync=False) as two:
        assert claim(one, tmp_path / "a")
        assert not claim(two, tmp_path / "a")
        assert not claim(two, tmp_path / "dangling")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert sorted(listed(tmp_path)) == ["a", "dangling"]


def test_a_name_that_a_killed_process_was_taking_is_free_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    mark = tmp_path / ".a.gx-claim"  # what is left when the process is killed between making and removing it
    mark.touch()
    with temporary(tmp_path, [b"one"], fsync=False) as one:
        sweep(os.scandir(tmp_path))
        assert not claim(one, tmp_path / "a")
        two_hours_ago = time.time() - 7200
        os.utime(mark, (two_hours_ago, two_hours_ago))
        sweep(os.scandir(tmp_path))
        assert claim(one, tmp_path / "a")
    assert listed(tmp_path) == ["a"]


def test_only_old_temporary_files_are_swept(tmp_path: Path) -> None:
    two_hours_ago = time.time() - 7200
    with temporary(tmp_path, [b"old"], fsync=False) as old, temporary(tmp_path, [b"new"], fsync=False) as new:
        assert is_temporary(old.name)
        assert old.parent == tmp_path
        (tmp_path / "old").touch()
        for path in (old, tmp_path / "old"):
            os.utime(path, (two_hours_ago, two_hours_ago))
        sweep(os.scandir(tmp_path))
        assert not old.exists()
        assert new.read_bytes() == b"new"
        assert (tmp_path / "old").exists()
    assert not new.exists()
