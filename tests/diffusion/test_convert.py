# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import os
import re
import sys
from functools import cache
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import ref

import numpy as np
import pytest
import torch
from diffusion.tiny import UNET, checkpoint_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

from graphexec.diffusion.checkpoint import open_checkpoint, open_vae
from graphexec.diffusion.convert import converted_tensors
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.save import safetensors_chunks
from graphexec.diffusion.shapes import network_shapes
from graphexec.errors import ModelFileError
from graphexec.lora.header import read_header


def convert(source: Path, target: Path, precision: str | None = None) -> int:
    """Write what became of a file; says how many tensors there are."""
    tensors, metadata = converted_tensors(source, precision)
    with target.open("wb") as file:
        file.writelines(safetensors_chunks(tensors, metadata))
    return len(tensors)


class Harm:
    """What a pickle must not bring to life."""


class Runs:
    """What calls a function of the system when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.getpid, ()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_checkpoint_becomes_one_that_opens(tmp_path: Path, zipped: bool) -> None:
    weights = checkpoint_weights()
    source, target = tmp_path / "old.ckpt", tmp_path / "new.safetensors"
    torch.save({"state_dict": weights, "epoch": 3}, source, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelFileError, match=r"graphexec convert-checkpoint IN OUT\.safetensors"):
        open_checkpoint(source)
    assert convert(source, target) == len(weights)
    assert open_checkpoint(target)[0].family == "sd1"
    assert all(torch.equal(tensor, weights[name]) for name, tensor in load_file(target).items())


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_named_as_safetensors_is_converted_too(tmp_path: Path, zipped: bool) -> None:
    source, target = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    torch.save({"x": torch.ones(2)}, source, _use_new_zipfile_serialization=zipped)
    assert convert(source, target) == 1
    assert torch.equal(load_file(target)["x"], torch.ones(2))


def test_a_pipe_is_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ckpt")
    with pytest.raises(ModelFileError, match=r"pipe\.ckpt: this is a pipe or a device"):
        converted_tensors(tmp_path / "pipe.ckpt")


@pytest.mark.parametrize("name", ["__metadata__", "a\ud800"])
def test_a_tensor_whose_name_safetensors_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    torch.save({name: torch.ones(2), "x": torch.ones(2)}, tmp_path / "x.pt")
    with pytest.raises(ModelFileError, match=re.escape(f"x.pt: no tensor can be called {name!r}")):
        converted_tensors(tmp_path / "x.pt")


@pytest.mark.parametrize("name", ["params_ema", "params-ema", "params", "model", "net"])
def test_tensors_lie_where_programs_that_train_put_them(tmp_path: Path, name: str) -> None:
    weights = {"conv_first.weight": torch.ones(2), "model": torch.zeros(1)}
    torch.save({name: weights, "params" if name == "params_ema" else "epoch": {}}, tmp_path / "x.pth")
    assert convert(tmp_path / "x.pth", tmp_path / "x.safetensors") == 2
    torch.save(weights, tmp_path / "y.pth")
    assert convert(tmp_path / "y.pth", tmp_path / "y.safetensors") == 2


def test_a_pickled_checkpoint_is_opened_and_loaded_where_that_is_allowed(tmp_path: Path, runtime: Runtime) -> None:
    weights = checkpoint_weights(family="sd2")
    torch.save(weights, tmp_path / "x.ckpt")
    model, _clip, vae = open_checkpoint(tmp_path / "x.ckpt", allow_pickle=True)
    assert open_vae(tmp_path / "x.ckpt", allow_pickle=True) == vae
    assert network_shapes(model)["out.2.weight"] == (4, 32, 3, 3)
    with runtime.unet(model) as unet:
        assert torch.equal(unet.get_parameter("out.2.weight"), weights[UNET + "out.2.weight"].float())


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
def test_the_precision_changes_and_metadata_and_whole_numbers_stay(
    tmp_path: Path, precision: str, dtype: torch.dtype
) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    save_file({"x": torch.randn(3), "ids": torch.arange(3)}, source, {"modelspec.title": "t"})
    convert(source, target, precision)
    found, before = load_file(target), load_file(source)
    assert torch.equal(found["x"], before["x"].to(dtype))
    assert torch.equal(found["ids"], before["ids"])
    assert read_header(target).metadata["modelspec.title"] == "t"


def test_tensors_that_share_memory_are_all_written(tmp_path: Path) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": whole, "b": whole, "c": whole[1], "d": whole.t()}, tmp_path / "x.pt")
    convert(tmp_path / "x.pt", tmp_path / "y")
    assert {name: tensor.tolist() for name, tensor in load_file(tmp_path / "y").items()} == {
        "a": whole.tolist(), "b": whole.tolist(), "c": whole[1].tolist(), "d": whole.t().tolist(),
    }  # fmt: skip


@pytest.mark.parametrize("content", [{"x": Harm()}, [1], {"x": 1}, {"state_dict": 3}])
def test_what_is_more_or_less_than_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ModelFileError, match=r"x\.pt: "):
        convert(tmp_path / "x.pt", tmp_path / "y")
    assert not (tmp_path / "y").exists()


@pytest.mark.parametrize(
    ("content", "named"), [(Harm(), f"{Harm.__module__}.Harm"), (Runs(), f"{os.getpid.__module__}.getpid")]
)
def test_a_refusal_names_what_is_refused_and_does_not_advise_to_load_it(
    tmp_path: Path, content: object, named: str
) -> None:
    torch.save({"x": content}, tmp_path / "x.pt")
    with pytest.raises(ModelFileError, match=rf"it holds '{re.escape(named)}', which can run code") as caught:
        convert(tmp_path / "x.pt", tmp_path / "y")
    assert "\033" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


def saved_by_lightning(monkeypatch: pytest.MonkeyPatch, *, zipped: bool) -> bytes:
    """A checkpoint with what PyTorch Lightning leaves in it, which is there only while the file is written."""
    where = "pytorch_lightning.callbacks.model_checkpoint"
    best = type("ModelCheckpoint", (), {"__module__": where})
    stream, module = BytesIO(), ModuleType(where)
    setattr(module, best.__name__, best)
    with monkeypatch.context() as patch:
        for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
            patch.setitem(sys.modules, name, ModuleType(name))
        patch.setitem(sys.modules, where, module)
        content = {"state_dict": {"x": torch.ones(2)}, "callbacks": {best: best(), "score": np.float64(3.0)}}
        torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_leaves_beside_the_tensors_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    whole = saved_by_lightning(monkeypatch, zipped=zipped)
    if not zipped:
        # What numpy 1 called it; the length of an archive's files must stay.
        whole = whole.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "x.ckpt").write_bytes(whole)
    assert convert(tmp_path / "x.ckpt", tmp_path / "y") == 1
    assert load_file(tmp_path / "y")["x"].tolist() == [1.0, 1.0]


def test_numbers_too_large_for_a_precision_are_refused(tmp_path: Path) -> None:
    save_file({"x": torch.tensor([1e6])}, tmp_path / "x")
    with pytest.raises(ModelFileError, match="too large"):
        convert(tmp_path / "x", tmp_path / "y", "fp16")


def test_each_tensor_is_converted_when_its_turn_comes_and_not_kept(tmp_path: Path) -> None:
    save_file({"a": torch.ones(4), "b": torch.tensor([1e6])}, tmp_path / "x")
    (first, second), _ = converted_tensors(tmp_path / "x", "fp16")
    made = first.make()
    assert made.dtype == torch.float16
    kept = ref(made)
    del made
    assert kept() is None
    with pytest.raises(ModelFileError, match=r"'b' has numbers that are too large for this precision"):
        second.make()


def test_numbers_too_large_for_fp32_are_refused(tmp_path: Path) -> None:
    save_file({"x": torch.tensor([1e300], dtype=torch.float64)}, tmp_path / "x")
    with pytest.raises(ModelFileError, match="too large"):
        convert(tmp_path / "x", tmp_path / "y", "fp32")


def test_the_widest_numbers_come_first_so_that_each_is_aligned(tmp_path: Path) -> None:
    save_file({"half": torch.ones(1).half(), "whole": torch.ones(1)}, tmp_path / "x")
    convert(tmp_path / "x", tmp_path / "y")
    torch.save({"flag": torch.tensor(True), "whole": torch.ones(1)}, tmp_path / "x.pt")
    convert(tmp_path / "x.pt", tmp_path / "z")
    assert [list(read_header(tmp_path / name).shapes) for name in "yz"] == [["whole", "half"], ["whole", "flag"]]


def test_weights_that_were_trained_are_weights_like_any(tmp_path: Path) -> None:
    torch.save({"x": torch.nn.Parameter(torch.ones(2))}, tmp_path / "x.pt")
    convert(tmp_path / "x.pt", tmp_path / "y")
    assert load_file(tmp_path / "y")["x"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "odd", [torch.ones(2).to_sparse(), torch.ones(2, device="meta"), torch.ones(2, dtype=torch.complex64)]
)
def test_a_tensor_that_safetensors_cannot_hold_is_refused_by_name(tmp_path: Path, odd: torch.Tensor) -> None:
    torch.save({"a": torch.ones(2), "odd": odd}, tmp_path / "x.pt")
    with pytest.raises(ModelFileError, match=r"x\.pt: 'odd' \(torch\.\S+, torch\.\S+, on \w+\) cannot be kept"):
        convert(tmp_path / "x.pt", tmp_path / "y")


@cache
def whole_file(kind: str) -> bytes:
    """Made once: the legacy format holds addresses of memory, so that its length changes from one time to the next."""
    tensors, stream = {"a.b": torch.ones(4, 4), "c": torch.ones(3)}, BytesIO()
    if kind == "safetensors":
        return save(tensors)
    torch.save(tensors, stream, _use_new_zipfile_serialization=kind == "zip")
    return stream.getvalue()


@settings(max_examples=60)
@given(data=st.data())
def test_damaged_files_are_refused_without_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "x"
    raw = bytearray(whole_file(data.draw(st.sampled_from(["safetensors", "zip", "legacy"]))))
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        for at in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=8)):
            raw[at] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        convert(path, folder / "y")
    except ModelFileError as error:
        assert str(error).startswith(str(path))


def test_hashes_of_weights_that_were_converted_are_not_said_of_the_new_ones(tmp_path: Path) -> None:
    hashes = {"sshs_model_hash": "1", "sshs_legacy_hash": "2", "modelspec.hash_sha256": "0x1"}
    save_file({"x": torch.ones(2), "a": torch.ones(1)}, tmp_path / "x", {**hashes, "ss_sd_model_hash": "3"})
    for precision, kept in ((None, hashes), ("fp32", hashes), ("fp16", {})):
        target = tmp_path / f"{precision}.safetensors"
        convert(tmp_path / "x", target, precision)
        assert read_header(target).metadata == {"format": "pt", "ss_sd_model_hash": "3", **kept}
