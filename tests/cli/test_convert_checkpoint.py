# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""`graphexec convert-checkpoint`."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cli.shell import Shell


def test_a_pickled_checkpoint_is_converted(shell: Shell) -> None:
    torch.save({"x": torch.ones(2)}, "old.ckpt")
    result = shell.run("convert-checkpoint", "old.ckpt", "new.safetensors", "--dtype", "fp16")
    assert (result.exit_code, result.stdout) == (0, "new.safetensors\n")
    assert load_file("new.safetensors")["x"].dtype == torch.float16
    assert sorted(path.name for path in Path().glob("*safetensors*")) == ["new.safetensors"]


def test_nothing_is_replaced_and_nothing_left_behind(shell: Shell) -> None:
    Path("there.safetensors").touch()
    before = sorted(Path().iterdir())
    for names, code in (
        (("missing.ckpt", "new.safetensors"), 3),
        (("there.safetensors", "there.safetensors"), 2),
        (("there.safetensors", "new.ckpt"), 2),
        (("there.safetensors", "new.safetensors"), 2),
    ):
        assert shell.run("convert-checkpoint", *names).exit_code == code
    assert sorted(Path().iterdir()) == before


def test_the_file_has_the_rights_that_any_new_file_has(shell: Shell) -> None:
    save_file({"x": torch.ones(2)}, "a.safetensors")
    assert shell.run("convert-checkpoint", "a.safetensors", "b.safetensors").exit_code == 0
    Path("plain").touch()
    assert Path("b.safetensors").stat().st_mode == Path("plain").stat().st_mode


def test_a_disk_that_is_full_is_told_and_nothing_left_behind(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    save_file({"x": torch.ones(2)}, "a.safetensors")
    monkeypatch.setattr(os, "fsync", full)
    result = shell.run("convert-checkpoint", "a.safetensors", "b.safetensors")
    assert (result.exit_code, result.stdout) == (1, "")
    told = "error: b.safetensors cannot be written: No space left on device; make room there, or name another place\n"
    assert result.stderr == told
    assert [path.name for path in Path().iterdir()] == ["a.safetensors"]


def test_a_folder_that_is_not_there_is_told_by_the_name_that_was_asked_for(shell: Shell) -> None:
    save_file({"x": torch.ones(2)}, "a.safetensors")
    result = shell.run("convert-checkpoint", "a.safetensors", "none/b.safetensors")
    assert result.exit_code == 1
    assert f"{Path('none/b.safetensors')} cannot be written: No such file or directory" in result.stderr


def test_a_file_that_another_made_meanwhile_stays(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def late(source: Any, target: Any) -> None:
        Path(target).write_bytes(b"theirs")
        link(source, target)

    save_file({"x": torch.ones(2)}, "a.safetensors")
    monkeypatch.setattr(os, "link", late)
    result = shell.run("convert-checkpoint", "a.safetensors", "b.safetensors")
    assert (result.exit_code, Path("b.safetensors").read_bytes()) == (2, b"theirs")
    assert "b.safetensors is there already" in result.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["a.safetensors", "b.safetensors"]


def test_what_a_killed_conversion_left_is_removed(shell: Shell) -> None:
    save_file({"x": torch.ones(2)}, "a.safetensors")
    left = Path(f".{'a' * 32}.gx-tmp")
    left.touch()
    os.utime(left, (0, 0))
    assert shell.run("convert-checkpoint", "a.safetensors", "b.safetensors").exit_code == 0
    assert not left.exists()


def test_a_name_that_another_process_is_taking_or_was_killed_at(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Any, target: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    save_file({"x": torch.ones(2)}, "a.safetensors")
    monkeypatch.setattr(os, "link", no_links)
    mark = Path(".b.safetensors.gx-claim")
    mark.touch()
    result = shell.run("convert-checkpoint", "a.safetensors", "b.safetensors")
    assert result.exit_code == 1
    assert "being written by another process, or one was killed at that" in result.stderr
    assert f"remove {mark}" in result.stderr
    assert "already" not in result.stderr
    mark.unlink()
    assert shell.run("convert-checkpoint", "a.safetensors", "b.safetensors").exit_code == 0
