# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from graphexec.diffusion.export import export_tensors, write_export
from graphexec.diffusion.types import Cond, Conditioning, Latent
from graphexec.errors import OutputError


def test_latents(tmp_path: Path) -> None:
    samples = torch.randn(2, 4, 3, 5).transpose(2, 3)
    write_export(tmp_path / "x.safetensors", "LATENT", Latent(samples, torch.ones(1, 8, 8), (3, 1)))
    found = load_file(tmp_path / "x.safetensors")
    assert torch.equal(found["samples"], samples)
    assert found["noise_mask"].shape == (1, 8, 8)
    assert found["batch_index"].tolist() == [3, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_what_a_latent_lacks_is_left_out() -> None:
    assert list(export_tensors("LATENT", Latent(torch.zeros(1, 4, 1, 1)))) == ["samples"]


def test_conditioning() -> None:
    value = Conditioning((Cond(torch.zeros(1, 77, 8), torch.zeros(1, 8)), Cond(torch.zeros(1, 77, 8))))
    assert list(export_tensors("CONDITIONING", value)) == ["cond0", "cond0.pooled_output", "cond1"]


def test_one_tensor_may_be_written_twice(tmp_path: Path) -> None:
    pooled = torch.ones(1, 8)
    cond = Cond(torch.ones(1, 77, 8), pooled)
    write_export(tmp_path / "x.safetensors", "CONDITIONING", Conditioning((cond, cond)))
    found = load_file(tmp_path / "x.safetensors")
    assert torch.equal(found["cond0"], found["cond1"])
    assert torch.equal(found["cond1.pooled_output"], pooled)


@pytest.mark.parametrize(("wire", "key"), [("IMAGE", "image"), ("MASK", "mask"), ("SIGMAS", "sigmas")])
def test_plain_tensors(wire: str, key: str) -> None:
    value = torch.zeros(3)
    assert export_tensors(wire, value) == {key: value}


def test_other_types_are_refused() -> None:
    with pytest.raises(OutputError, match=r"MODEL cannot be exported.*LATENT"):
        export_tensors("MODEL", None)


def test_a_folder_that_is_not_there_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_export(tmp_path / "no" / "x.safetensors", "MASK", torch.zeros(1))
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_export(tmp_path / "folder", "MASK", torch.zeros(1))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
