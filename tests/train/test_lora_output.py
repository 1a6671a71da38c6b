# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from graphexec.diffusion.types import Family
from graphexec.errors import ModelFileError, OutputError
from graphexec.lora.header import read_header
from graphexec.lora.summary import summarize
from graphexec.train.config import (
    Dataset,
    GivenNetwork,
    ModelSource,
    Network,
    Noise,
    Optimiser,
    Saving,
    TrainConfig,
)
from graphexec.train.metadata import Base, NamedFile, Progress, metadata
from graphexec.train.output import lora_bytes, save_lora

TENSORS = {
    "lora_unet_m.lora_up.weight": torch.randn(4, 2).half(),
    "lora_unet_m.lora_down.weight": torch.randn(2, 3).half(),
    "lora_unet_m.alpha": torch.tensor(1.0),
}
CONFIG = TrainConfig(ModelSource(Path("base.safetensors")), (Dataset((), (512, 768), 2),), Saving(Path(), "style"))
BASE = Base("sd1", "eps", NamedFile("base.safetensors", "01234567", "89" * 32))
PROGRESS = Progress(seed=7, step=20, epoch=2, steps=100, epochs=10)
PICTURES = {"ss_num_train_images": "12", "ss_tag_frequency": json.dumps({"3_cat": {"cat": 4, "red": 1}})}


def told(config: TrainConfig = CONFIG, base: Base = BASE, progress: Progress = PROGRESS) -> dict[str, str]:
    return metadata(config, base, PICTURES, progress)


def test_a_file_is_what_was_saved_and_known_by_its_hashes(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lora.safetensors"
    save_lora(path, TENSORS, told())
    for name, tensor in load_file(path).items():
        assert torch.equal(tensor, TENSORS[name])
    found = read_header(path).metadata
    content = path.read_bytes()
    weights = hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()
    assert found["sshs_model_hash"] == weights == summarize(path).weights_sha256
    assert found["modelspec.hash_sha256"] == f"0x{weights}"
    assert found["sshs_legacy_hash"] == hashlib.sha256(b"").hexdigest()[:8]
    assert summarize(path).tags == {"cat": 4, "red": 1}
    assert summarize(path).base_model == "base.safetensors"
    assert [entry.name for entry in path.parent.iterdir()] == ["lora.safetensors"]


def test_the_old_hash_is_of_a_file_without_the_model_spec() -> None:
    tensors = {"lora_unet_m.lora_up.weight": torch.arange(600_000, dtype=torch.float32)}
    plain = {"ss_seed": "1"}
    content = lora_bytes(tensors, {**plain, "modelspec.title": "a"})
    other = lora_bytes(tensors, {**plain, "modelspec.title": "a much longer title"})
    hashes = {header_of(each)["sshs_legacy_hash"] for each in (content, other)}
    assert len(hashes) == 1
    assert hashes != {hashlib.sha256(b"").hexdigest()[:8]}


def header_of(content: bytes) -> dict[str, str]:
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]


def test_the_same_run_gives_the_same_file() -> None:
    turned = dict(reversed(TENSORS.items()))
    assert lora_bytes(TENSORS, told()) == lora_bytes(turned, dict(reversed(told().items())))
    later = replace(PROGRESS, started=1.0, finished=86400.0)
    dated = told(progress=later)
    assert dated["ss_training_started_at"] == "1.0"
    assert dated["modelspec.date"] == "1970-01-02T00:00:00"
    dates = {"ss_training_started_at", "ss_training_finished_at", "modelspec.date"}
    assert dated.keys() - told().keys() == dates
    assert told().items() <= dated.items()
    first, second = (header_of(lora_bytes(TENSORS, entries)) for entries in (told(), dated))
    assert first["sshs_model_hash"] == second["sshs_model_hash"]


def test_the_weights_are_put_together_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Tensor] = []
    contiguous = Tensor.contiguous

    def counted(tensor: Tensor) -> Tensor:
        made.append(tensor)
        return contiguous(tensor)

    monkeypatch.setattr(Tensor, "contiguous", counted)
    save_lora(tmp_path / "lora.safetensors", TENSORS, told())
    assert sorted(map(id, made)) == sorted(map(id, TENSORS.values()))
    assert (tmp_path / "lora.safetensors").read_bytes() == lora_bytes(TENSORS, told())


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        save_lora(tmp_path / "file" / "lora.safetensors", TENSORS, {})


def test_entries_are_those_of_sd_scripts() -> None:
    found = told()
    expected = {
        "ss_output_name": "style",
        "ss_seed": "7",
        "ss_steps": "20",
        "ss_epoch": "2",
        "ss_max_train_steps": "100",
        "ss_num_epochs": "10",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "4",
        "ss_network_alpha": "1.0",
        "ss_learning_rate": "0.0001",
        "ss_unet_lr": "None",
        "ss_noise_offset": "None",
        "ss_base_model_version": "sd_v1",
        "ss_v2": "False",
        "ss_sd_model_name": "base.safetensors",
        "ss_sd_model_hash": "01234567",
        "ss_mixed_precision": "no",
        "ss_total_batch_size": "2",
        "ss_validation_split": "0.0",
        "ss_validation_seed": "None",
        "ss_face_crop_aug_range": "None",
        "ss_resize_interpolation": "None",
        "ss_num_train_images": "12",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": "style",
        "modelspec.resolution": "512x768",
        "modelspec.prediction_type": "epsilon",
    }
    assert expected.items() <= found.items()
    assert "modelspec.date" not in found
    assert "ss_network_args" not in found


def test_settings_are_told() -> None:
    network = Network("lokr", 8, 4, conv_rank=2, lokr_factor=16, block_ranks=(1, 0), ranks_by_name=(("attn", 2),))
    optimiser = Optimiser("Lion", 1e-4, 5e-5, (1e-5, 2e-5), {"weight_decay": 0.1})
    found = told(replace(CONFIG, network=network, optimiser=optimiser, noise=Noise(0.05, min_timestep=10)))
    assert json.loads(found["ss_network_args"]) == {
        "algo": "lokr",
        "factor": "16",
        "conv_dim": "2",
        "block_dims": "1,0",
        "network_reg_dims": "attn=2",
    }
    assert found["ss_network_module"] == "lycoris.kohya"
    assert found["ss_optimizer"] == "Lion(weight_decay=0.1)"
    assert found["ss_text_encoder_lr"] == "[1e-05, 2e-05]"
    assert found["ss_noise_offset"] == "0.05"
    assert found["modelspec.timestep_range"] == "10,1000"
    dora = told(replace(CONFIG, network=Network(decompose=True)))
    assert json.loads(dora["ss_network_args"]) == {"algo": "locon", "dora_wd": "True"}


def test_settings_are_told_in_their_own_words() -> None:
    arguments = {"algo": "lora", "loraplus_lr_ratio": "16", "rs_lora": "True"}
    given = GivenNetwork("lycoris.kohya", 4.0, arguments)
    found = told(replace(CONFIG, network=Network("lora", 16, 16.0, given=given)))
    assert json.loads(found["ss_network_args"]) == arguments
    assert (found["ss_network_module"], found["ss_network_alpha"]) == ("lycoris.kohya", "4.0")


@pytest.mark.parametrize(
    ("family", "predicts", "version", "architecture"),
    [
        ("sd2", "eps", "sd_v2", "stable-diffusion-v2-512/lora"),
        ("sd2", "v", "sd_v2_v", "stable-diffusion-v2-768-v/lora"),
        ("sdxl", "eps", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora"),
    ],
)
def test_families(family: Family, predicts: str, version: str, architecture: str) -> None:
    base = replace(BASE, family=family, predicts=predicts, vae=NamedFile("vae.safetensors", "1", "2"))
    found = told(base=base)
    assert found["ss_base_model_version"] == version
    assert found["modelspec.architecture"] == architecture
    assert found["ss_vae_name"] == "vae.safetensors"


def test_sessions_differ_as_their_settings_do_and_not_by_progress() -> None:
    other = replace(CONFIG, network=Network(rank=8))
    sessions = [
        entries["ss_session_id"] for entries in (told(), told(progress=replace(PROGRESS, step=21)), told(other))
    ]
    assert sessions[0] == sessions[1] != sessions[2]


def test_a_file_may_keep_its_training_to_itself() -> None:
    found = told(replace(CONFIG, saving=replace(CONFIG.saving, no_metadata=True), network=Network(conv_rank=1)))
    names = {name for name in found if name.startswith("ss_")}
    assert names == {
        *("ss_v2", "ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha"),
        "ss_network_args",
    }
    assert found["modelspec.title"] == "style"


def test_a_checkpoint_by_its_hashes(tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    path.write_bytes(bytes(0x100000) + b"weights" * 10_000)
    found = NamedFile.of(path)
    assert found.name == "base.safetensors"
    assert found.short == hashlib.sha256((b"weights" * 10_000)[:0x10000]).hexdigest()[:8]
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ModelFileError, match="cannot be read"):
        NamedFile.of(tmp_path / "none")


def test_other_programs_read_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save_lora(path, TENSORS, {"ss_training_comment": "Ünïcode, 猫"})
    with safe_open(path, "pt") as file:
        assert file.metadata()["ss_training_comment"] == "Ünïcode, 猫"
