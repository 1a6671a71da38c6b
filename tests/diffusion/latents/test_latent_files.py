"""Latents as files."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from graphexec.diffusion.latents.files import encode_latent, load_latent
from graphexec.diffusion.types import Latent
from graphexec.errors import ModelFileError


def test_saved_and_loaded(tmp_path: Path) -> None:
    samples = torch.randn(2, 4, 3, 5).transpose(2, 3)
    path = tmp_path / "x.latent"
    path.write_bytes(encode_latent(Latent(samples), {"prompt": "{}"}))
    assert torch.equal(load_latent(path).samples, samples)


def test_files_without_a_version_are_scaled(tmp_path: Path) -> None:
    save_file({"latent_tensor": torch.full((1, 4, 2, 2), 0.18215, dtype=torch.float16)}, tmp_path / "x.latent")
    samples = load_latent(tmp_path / "x.latent").samples
    assert samples.dtype == torch.float32
    assert torch.allclose(samples, torch.ones_like(samples), atol=1e-3)


@pytest.mark.parametrize(("content", "said"), [(b"PNG", "cannot be read"), (None, "cannot be read")])
def test_what_is_no_file_of_tensors(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "x.latent"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=said):
        load_latent(path)


@pytest.mark.parametrize("shape", [(4, 8, 8), (1, 4, 1, 8, 8)])
def test_latents_of_other_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    save_file({"latent_tensor": torch.zeros(shape)}, tmp_path / "x.latent")
    with pytest.raises(ModelFileError, match=r"x\.latent: a latent is \[batch, channels, height, width\]"):
        load_latent(tmp_path / "x.latent")


def test_other_tensors(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(1)}, tmp_path / "x.latent")
    with pytest.raises(ModelFileError, match="no latent"):
        load_latent(tmp_path / "x.latent")
