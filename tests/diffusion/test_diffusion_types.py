# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import os
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import Clip, LoraPatch, Model, TextEncoder
from graphexec.errors import ModelFileError


@pytest.fixture
def file(tmp_path: Path) -> WeightsFile:
    path = tmp_path / "x"
    path.write_bytes(b"1234")
    return WeightsFile.of(path)


def test_a_file_is_current_until_it_changes(file: WeightsFile) -> None:
    assert file.is_current()
    os.utime(file.path, ns=(1, 1))
    assert not file.is_current()
    assert WeightsFile.of(file.path).is_current()
    file.path.unlink()
    assert not file.is_current()


def test_two_files_of_one_size_and_time_that_change_places(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.write_bytes(path.name.encode())
        os.utime(path, ns=(5, 5))
    file = WeightsFile.of(one)
    one.rename(tmp_path / "aside")
    two.rename(one)
    assert not file.is_current()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.safetensors: the file cannot be read"):
        WeightsFile.of(tmp_path / "none.safetensors")


@pytest.mark.parametrize("kind", ["model", "clip"])
def test_patches_stack_in_order_and_leave_the_recipe_alone(file: WeightsFile, kind: str) -> None:
    base = Model(file, "sd1", "p.") if kind == "model" else Clip((TextEncoder("clip_l", file, "p."),), "sd1")
    stacked = base.patched(file.path, 0.5).patched(file.path, -1.0)
    assert stacked.patches == (LoraPatch(file, 0.5), LoraPatch(file, -1.0))
    assert base.patches == ()
    assert base.patched(file.path, 0.0) is base
    assert hash(stacked) == hash(base.patched(file.path, 0.5).patched(file.path, -1.0))
    with pytest.raises(FrozenInstanceError):
        base.family = "sd2"  # pyright: ignore[reportAttributeAccessIssue]
