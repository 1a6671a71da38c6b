from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from graphexec.diffusion.files import write_whole
from graphexec.errors import OutputError


@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("no")])
def test_whatever_ends_a_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, raised: BaseException) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise raised

    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OutputError if isinstance(raised, OSError) else type(raised)):
        write_whole(tmp_path / "a", chunks())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"something longer")
    write_whole(tmp_path / "a", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new"}


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"first, "
        write_whole(tmp_path / "a", b"second")
        assert (tmp_path / "a").read_bytes() == b"second"
        yield b"and last"

    write_whole(tmp_path / "a", chunks())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"first, and last"}
