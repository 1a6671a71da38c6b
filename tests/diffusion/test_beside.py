# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Weights in several files with an index are read as if they were in one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusion.test_separate import folder, text_of, unet_of
from safetensors.torch import load_file, save_file
from torch import Tensor

from graphexec.diffusion.beside import beside, parts_of, read_index, whole_of
from graphexec.diffusion.listing import list_file
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.separate import folder_state, open_clip, open_diffusers, open_unet
from graphexec.diffusion.sources import WeightsFile
from graphexec.errors import ModelFileError


def sharded(path: Path, tensors: dict[str, Tensor], count: int = 3) -> Path:
    """Write tensors into parts beside an index, as `save_pretrained` does; the index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names, places = sorted(tensors), dict[str, str]()
    for number in range(count):
        part = f"{path.name.removesuffix('.safetensors')}-{number + 1:05}-of-{count:05}.safetensors"
        save_file({name: tensors[name] for name in names[number::count]}, path.with_name(part))
        places |= dict.fromkeys(names[number::count], part)
    index = path.with_name(f"{path.name}.index.json")
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


def test_a_unet_in_parts_computes_the_same(tmp_path: Path, runtime: Runtime) -> None:
    weights = unet_of("sd1", diffusers=True)
    save_file(weights, tmp_path / "whole.safetensors")
    sharded(tmp_path / "unet.safetensors", weights)
    model = open_unet(tmp_path / "unet-00002-of-00003.safetensors")
    assert model.file.path.name == "unet.safetensors.index.json"
    with runtime.unet(model) as unet:
        found = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    with runtime.unet(open_unet(tmp_path / "whole.safetensors")) as unet:
        expected = unet.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_text_encoder_in_parts(tmp_path: Path) -> None:
    sharded(tmp_path / "model.safetensors", text_of(32, 2))
    clip = open_clip(tmp_path / "model-00001-of-00003.safetensors")
    assert clip.encoders[0].file.path == tmp_path / "model.safetensors.index.json"


def test_a_folder_of_diffusers_may_be_in_parts(tmp_path: Path, runtime: Runtime) -> None:
    index = folder(tmp_path, "sd1")
    whole = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    sharded(whole, load_file(whole))
    whole.unlink()
    model, _clip, _vae = open_diffusers(index)
    assert model.family == "sd1"
    with runtime.unet(model) as unet:
        assert unet.layout.attention_layers
    before = folder_state(index)
    save_file({"x": torch.zeros(1)}, tmp_path / "unet" / "diffusion_pytorch_model-00001-of-00003.safetensors")
    assert folder_state(index) != before
    assert not model.file.is_current()


def test_a_part_that_changes_changes_what_is_opened_with_it(tmp_path: Path) -> None:
    index = sharded(tmp_path / "x.safetensors", {name: torch.zeros(2) for name in "abc"})
    first, file = tmp_path / "x-00001-of-00003.safetensors", WeightsFile.of(index)
    assert file.is_current() and file == WeightsFile.of(index)
    assert beside(first) == [index, *(tmp_path / f"x-0000{i}-of-00003.safetensors" for i in (2, 3))]
    save_file({"a": torch.zeros(5)}, tmp_path / "x-00003-of-00003.safetensors")
    assert not file.is_current()
    assert beside(tmp_path / "alone.safetensors") == []


def test_what_parts_are_called(tmp_path: Path) -> None:
    index = sharded(tmp_path / "x.safetensors", {"a": torch.zeros(1), "b": torch.zeros(1)}, count=2)
    part = tmp_path / "x-00001-of-00002.safetensors"
    assert whole_of(part) == index
    assert whole_of(tmp_path / "y-00001-of-00002.safetensors").name == "y-00001-of-00002.safetensors"
    assert parts_of(index) == [index, part, tmp_path / "x-00002-of-00002.safetensors"]
    assert parts_of(part) == [part]
    assert read_index(index)["a"] == part


def test_names_shapes_and_numbers_of_all_parts(tmp_path: Path) -> None:
    index = sharded(tmp_path / "x.safetensors", {"a": torch.tensor([1.0, 2.0]), "b": torch.zeros(3, 1)})
    listing = list_file(index)
    assert (listing.shapes, list(listing.numbers("a"))) == ({"a": (2,), "b": (3, 1)}, [1.0, 2.0])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no index of weights"),
        ("[]", "no index of weights"),
        ('{"weight_map": []}', "no index of weights"),
        ('{"weight_map": {"a": "../x-00001-of-00001.safetensors"}}', "no part of it"),
        ('{"weight_map": {"a": "other-00001-of-00001.safetensors"}}', "no part of it"),
        ('{"weight_map": {"z": "x-00001-of-00001.safetensors"}}', "'z' is not in x-00001-of-00001"),
        ('{"weight_map": {"a": "x-00001-of-00002.safetensors"}}', "cannot be read"),
    ],
)
def test_an_index_that_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    index = sharded(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, count=1)
    index.write_text(text)
    with pytest.raises(ModelFileError, match=says) as caught:
        list_file(index)
    assert str(index) in str(caught.value)
    with pytest.raises(ModelFileError):
        open_unet(index.with_name("x-00001-of-00001.safetensors"))


def test_a_loras_configuration_belongs_to_it(tmp_path: Path) -> None:
    lora, config = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    lora.write_bytes(b"x")
    assert beside(lora) == []
    config.write_text("{}")
    file = WeightsFile.of(lora)
    assert (beside(lora), file.is_current()) == ([config], True)
    config.write_text('{"lora_alpha": 3}')
    assert not file.is_current()
