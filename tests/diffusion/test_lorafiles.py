# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion.lorafiles import LoraReader
from graphexec.diffusion.patch import Delta, Scale, patched_weight
from graphexec.diffusion.sources import WeightsFile
from graphexec.errors import ModelFileError
from graphexec.lora.adapters.base import Part
from graphexec.lora.adapters.diff import Diff, SetWeight
from graphexec.lora.formats import LoraModule


def file_of(path: Path, **tensors: Tensor) -> WeightsFile:
    save_file(tensors, path)
    return WeightsFile.of(path)


def test_what_was_read_stays_after_the_file_is_gone(tmp_path: Path) -> None:
    read, value = LoraReader(), torch.randn(4, 4)
    file = file_of(tmp_path / "a", x=value)
    first = read(file, "x")
    read.close()
    file.path.unlink()
    assert read(file, "x") is first
    assert torch.equal(first, value)


def test_nothing_above_the_limit_is_kept(tmp_path: Path) -> None:
    read = LoraReader(limit=100)
    file = file_of(tmp_path / "a", x=torch.ones(20), y=torch.ones(20))
    assert read(file, "x") is read(file, "x")
    assert torch.equal(read(file, "y"), torch.ones(20))
    assert read(file, "y") is not read(file, "y")
    assert read.bytes == 80


def test_a_file_in_use_does_not_make_room_but_the_one_before_does(tmp_path: Path) -> None:
    read = LoraReader(limit=100)
    old, new = (file_of(tmp_path / name, x=torch.full((20,), value)) for name, value in (("a", 1.0), ("b", 2.0)))
    kept = read(old, "x")
    read(new, "x")
    assert read(old, "x") is kept
    read.close()
    assert read(new, "x") is read(new, "x")
    assert read.bytes == 80
    read.clear()
    assert read.bytes == 0
    assert torch.equal(read(old, "x"), torch.ones(20))


def test_what_is_kept_lies_where_it_was_last_wanted_but_for_single_numbers(tmp_path: Path) -> None:
    """The device meta, which needs no hardware, stands for a GPU."""
    read, gpu = LoraReader(), torch.device("meta")
    file = file_of(tmp_path / "a", x=torch.ones(4), alpha=torch.tensor(3.0))
    host = read(file, "x")
    assert read(file, "x") is host
    assert read(file, "x", gpu) is read(file, "x", gpu)
    assert (read(file, "x", gpu).device, read(file, "alpha", gpu).item()) == (gpu, 3.0)
    assert read.bytes == 20


def test_a_file_that_was_changed_is_another(tmp_path: Path) -> None:
    read = LoraReader()
    assert read(file_of(tmp_path / "a", x=torch.ones(3)), "x").sum() == 3
    assert read(file_of(tmp_path / "a", x=torch.ones(3), y=torch.ones(1)), "x").sum() == 3
    assert read(file_of(tmp_path / "a", x=torch.zeros(5)), "x").sum() == 0


def test_patches_after_a_whole_weight_leave_what_is_kept_of_it_alone(tmp_path: Path) -> None:
    read, file = LoraReader(), file_of(tmp_path / "a", w=torch.full((2, 3), 5.0), d=torch.ones(2, 3))
    whole = SetWeight({"set_weight": Part("w", (2, 3))}, {})
    more = Diff({"diff": Part("d", (2, 3))}, {})
    steps = [Delta(file, LoraModule("m", adapter, "weight"), 1.0) for adapter in (whole, more)]
    for _ in range(2):
        assert torch.equal(patched_weight(torch.zeros(2, 3), (*steps, Scale(2.0)), read), torch.full((2, 3), 12.0))
    assert torch.equal(read(file, "w"), torch.full((2, 3), 5.0))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.int8])
def test_numbers_of_few_bits_are_read_in_the_dtype_of_the_file(tmp_path: Path, dtype: torch.dtype) -> None:
    read, file = LoraReader(), file_of(tmp_path / "a", x=torch.tensor([1.0, -2.0]).to(dtype))
    assert read(file, "x").dtype == dtype
    assert read(file, "x").tolist() == [1.0, -2.0]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (float("nan"), torch.float32),
        (float("-inf"), torch.float32),
        (float("nan"), torch.float8_e4m3fn),  # which has no infinity
        (float("-inf"), torch.float8_e5m2),
    ],
)
def test_a_damaged_tensor_is_refused_every_time(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    read, file = LoraReader(), file_of(tmp_path / "a", x=torch.tensor([1.0, value]).to(dtype))
    for _ in range(2):
        with pytest.raises(ModelFileError, match=r"'x'.*NaN or infinity"):
            read(file, "x")
        read.close()


def written(path: Path, dtype: str, shape: list[int], content: bytes) -> WeightsFile:
    """A file of one tensor, with metadata that are no texts, which the library of safetensors refuses."""
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, len(content)]}
    header = json.dumps({"__metadata__": {"epoch": 3, "notes": None}, "x": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + content)
    return WeightsFile.of(path)


def test_a_file_is_read_by_what_its_header_was_checked_by(tmp_path: Path) -> None:
    file = written(tmp_path / "a", "F16", [2], torch.tensor([1.0, -2.0]).half().numpy().tobytes())
    assert LoraReader()(file, "x").tolist() == [1.0, -2.0]


@pytest.mark.parametrize("dtype", ["F4", "C64", "F8_E8M0"])
def test_numbers_that_nothing_is_computed_with_are_refused(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(ModelFileError, match=f"'x' is stored as {dtype}, which cannot be read"):
        LoraReader()(written(tmp_path / "a", dtype, [16], bytes({"F4": 8, "C64": 128}.get(dtype, 16))), "x")
