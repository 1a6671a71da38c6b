# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion.tiny import SIZES, write_checkpoint

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.images import vae_encode
from graphexec.diffusion.runtime import Runtime
from graphexec.train.config import ModelSource
from graphexec.train.faults import TrainingError
from graphexec.train.metadata import NamedFile
from graphexec.train.models import BaseModel

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in ("sd1", "sd2", "sdxl", "sdxl_refiner"):
        write_checkpoint(folder / f"{family}.safetensors", family=family)
    write_checkpoint(folder / "inpaint.safetensors", size=replace(SIZES["sd1"], channels=9))
    return folder


def base_of(folder: Path, name: str, **options: Any) -> BaseModel:
    return BaseModel.load(ModelSource(folder / f"{name}.safetensors", **options), "fp32", CPU)


@pytest.mark.parametrize(("name", "kinds", "layer"), [
    ("sd1", ("clip_l",), -1), ("sd2", ("clip_h",), -2), ("sdxl", ("clip_l", "clip_g"), -2),
])  # fmt: skip
def test_families_are_told_by_their_files(name: Any, kinds: tuple[str, ...], layer: int, folder: Path) -> None:
    base = base_of(folder, name)
    assert (base.family, base.kinds, base.layer, base.target) == (name, kinds, layer, "eps")
    networks = (base.unet, base.vae, *base.encoders)
    assert not any(parameter.requires_grad for network in networks for parameter in network.parameters())


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_latents_are_those_of_pictures_at_the_models_scale(name: Any, folder: Path) -> None:
    pixels = torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(1))
    _, _, vae = open_checkpoint(folder / f"{name}.safetensors")
    expected = vae_encode(Runtime("cpu"), vae, pixels.movedim(1, -1)).samples * FAMILIES[name].latent_scale
    torch.testing.assert_close(base_of(folder, name).encode(pixels * 2 - 1), expected)


def test_the_vae_may_come_from_elsewhere(folder: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other.safetensors", seed=5)
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    own, lent = base_of(folder, "sd1"), base_of(folder, "sd1", vae=other)
    assert not torch.equal(own.encode(pixels), lent.encode(pixels))
    assert own.latents_key() != lent.latents_key()
    assert own.text_key() == lent.text_key() != base_of(folder, "sd1", clip_skip=2).text_key()


def test_what_a_gpu_encoded_is_not_taken_on_a_cpu(folder: Path) -> None:
    here = base_of(folder, "sd1")
    there = replace(here, device=torch.device("cuda"))
    assert here.latents_key() != there.latents_key() and here.text_key() != there.text_key()


def test_a_checkpoint_is_hashed_once_until_it_changes(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "base.safetensors")
    base, whole = base_of(tmp_path, "base"), path.read_bytes()
    digest = base.latents_key().split()[0]
    before = path.stat()
    path.write_bytes(whole[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    # Now it cannot be told from the one before, so that only a second reading would.
    assert digest == base.text_key().split()[0] == NamedFile.of(path).sha256 == hashlib.sha256(whole).hexdigest()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert NamedFile.of(path).sha256 == hashlib.sha256(whole[::-1]).hexdigest()


def test_networks_compute_in_the_precision_asked_for(folder: Path) -> None:
    source = ModelSource(folder / "sd1.safetensors", vae_precision="fp16")
    base = BaseModel.load(source, "bf16", CPU)
    assert {parameter.dtype for parameter in base.unet.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in base.encoders[0].parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in base.vae.parameters()} == {torch.float16}


def test_settings_count_more_than_what_the_file_says_of_its_prediction(folder: Path) -> None:
    assert base_of(folder, "sd1", v_prediction=True).target == "v"
    assert base_of(folder, "sd1", v_prediction=False).target == "eps"


def test_clip_skip(folder: Path) -> None:
    assert base_of(folder, "sd1", clip_skip=2).layer == -2
    assert base_of(folder, "sdxl", clip_skip=2).layer == -2


@pytest.mark.parametrize(("name", "options", "message"), [
    ("sd1", {"family": "sdxl"}, "a model of SD 1.x, but the configuration is for SDXL"),
    ("sdxl", {"family": "sd15"}, "a model of SDXL, but the configuration is for SD 1.x"),
    ("sdxl_refiner", {}, "is a refiner"),
    ("inpaint", {}, "takes 9 channels"),
    ("sd1", {"clip_skip": 3}, "from 1 to 2"),
    ("sdxl", {"clip_skip": 3}, "always takes the last layer but one"),
])  # fmt: skip
def test_what_cannot_be_trained_is_refused(name: str, options: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(TrainingError, match=message):
        base_of(folder, name, **options)
