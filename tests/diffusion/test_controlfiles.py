# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion.tiny import UNET, UNetSize, checkpoint_weights, diffusers_unet
from diffusion.tiny_control import (
    adapter_weights,
    control_lora,
    controlnet_weights,
    diffusers_adapter,
    diffusers_controlnet,
    light_adapter_weights,
    prefixed,
    union_weights,
)
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.controlfiles import open_controlnet, read_control
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.separate import open_unet
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import Clip, Model, Vae
from graphexec.errors import ModelFileError

Recipes = tuple[Model, Clip, Vae]
SIZE = UNetSize()
XL = UNetSize(32, (1, 2, 4), 2, (False, True, True), depth=2, linear=True)


def loaded(path: Path, weights: Mapping[str, Tensor], model: Model) -> dict[str, Tensor]:
    save_file(dict(weights), path)
    with Runtime("cpu").controlnet(open_controlnet(path), model) as network:
        return dict(network.state_dict())


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_with_and_without_prefix(tmp_path: Path, recipes: Recipes) -> None:
    weights = controlnet_weights(SIZE)
    assert same(loaded(tmp_path / "a", weights, recipes[0]), weights)
    assert same(loaded(tmp_path / "b", prefixed(weights), recipes[0]), weights)
    assert open_controlnet(tmp_path / "b").prefix == "control_model."


@pytest.mark.parametrize("size", [SIZE, XL])
def test_controlnets_of_either_library(tmp_path: Path, recipes: Recipes, size: UNetSize) -> None:
    weights = controlnet_weights(size, vector=48) | union_weights(size)
    renamed = diffusers_controlnet(weights, size)
    assert (renamed.keys() & weights.keys()) == union_weights(size).keys()
    assert same(loaded(tmp_path / "a", weights, recipes[0]), weights)
    assert same(loaded(tmp_path / "b", renamed, recipes[0]), weights)


@pytest.mark.parametrize(
    ("adapter", "light"),
    [(adapter_weights(), False), (adapter_weights(xl=True, channels=1), False), (light_adapter_weights(), True)],
)
def test_adapters_of_either_library(tmp_path: Path, recipes: Recipes, adapter: dict[str, Tensor], light: bool) -> None:
    renamed = diffusers_adapter(adapter, light=light)
    assert not renamed.keys() & adapter.keys()
    assert same(loaded(tmp_path / "a", adapter, recipes[0]), adapter)
    assert same(loaded(tmp_path / "b", renamed, recipes[0]), adapter)


@pytest.mark.parametrize(
    ("weights", "kind", "needs_base"),
    [
        (controlnet_weights(SIZE), "controlnet", False),
        (prefixed(controlnet_weights(SIZE)) | {"difference": torch.zeros(0)}, "controlnet", True),
        (control_lora(SIZE), "control_lora", True),
        (adapter_weights(), "adapter", False),
        (light_adapter_weights(), "adapter", False),
    ],
)
def test_kinds(tmp_path: Path, weights: dict[str, Tensor], kind: str, needs_base: bool) -> None:
    save_file(weights, tmp_path / "x")
    found = read_control(WeightsFile.of(tmp_path / "x"))
    assert (found.kind, found.needs_base) == (kind, needs_base)


def test_only_a_difference_remembers_the_model(tmp_path: Path, recipes: Recipes) -> None:
    save_file(prefixed(controlnet_weights(SIZE)) | {"difference": torch.zeros(0)}, tmp_path / "diff")
    save_file(controlnet_weights(SIZE), tmp_path / "whole")
    assert open_controlnet(tmp_path / "diff", recipes[0]).base == recipes[0]
    assert open_controlnet(tmp_path / "whole", recipes[0]).base is None


def test_a_difference_is_compared_with_whatever_file_the_model_lies_in(tmp_path: Path) -> None:
    named = {other: checkpoint_weights()[UNET + name] for other, name in diffusers_unet(SIZE).items()}
    save_file(named, tmp_path / "unet.safetensors")
    torch.save(checkpoint_weights(), tmp_path / "x.ckpt")
    models = open_unet(tmp_path / "unet.safetensors"), open_checkpoint(tmp_path / "x.ckpt", allow_pickle=True)[0]
    for size in (SIZE, replace(SIZE, context=64)):
        save_file(prefixed(controlnet_weights(size)) | {"difference": torch.zeros(0)}, tmp_path / f"{size.context}")
    for model in models:
        assert open_controlnet(tmp_path / "32", model).base == model
        with pytest.raises(ModelFileError, match="another family of models"):
            open_controlnet(tmp_path / "64", model)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lllite_unet_input_blocks_1.down.0.weight", "ControlLLLite"),
        ("base_model.model.zero_convs.0.weight", "PEFT"),
        ("style_embedding", "StyleModelLoader"),
        ("double_blocks.0.img_attn.qkv.weight", "Flux"),
        ("transformer_blocks.0.attn.to_q.weight", "Stable Diffusion 3"),
        ("lora_unet_x.lora_up.weight", "a LoRA"),
        ("model.diffusion_model.out.2.weight", "a checkpoint"),
        ("whatever", "names begin with 'whatever'"),
    ],
)
def test_what_steers_nothing_is_named(tmp_path: Path, name: str, says: str) -> None:
    save_file({name: torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelFileError, match=rf"x\.safetensors.*zero_convs\.0\.0\.weight.*{says}"):
        open_controlnet(tmp_path / "x.safetensors")


def test_a_damaged_layout_is_found_when_it_is_opened(tmp_path: Path) -> None:
    weights = controlnet_weights(SIZE)
    del weights["middle_block_out.0.weight"]
    save_file(weights, tmp_path / "x")
    with pytest.raises(ModelFileError, match=r"middle_block_out\.0\.weight"):
        open_controlnet(tmp_path / "x")


def test_parts_must_go_together(tmp_path: Path) -> None:
    weights = controlnet_weights(SIZE)
    del weights["zero_convs.3.0.weight"]
    save_file(weights, tmp_path / "x")
    with pytest.raises(ModelFileError, match="3 zero convolutions go with 4 blocks"):
        open_controlnet(tmp_path / "x")
    save_file({n: t for n, t in adapter_weights().items() if not n.startswith(("body.3", "body.4"))}, tmp_path / "y")
    with pytest.raises(ModelFileError, match="4 levels, and this one only 3 blocks"):
        open_controlnet(tmp_path / "y")


STRANGE = [
    controlnet_weights(SIZE) | union_weights(SIZE),
    adapter_weights(),
    light_adapter_weights(),
    control_lora(SIZE),
]


@pytest.mark.parametrize("strange", STRANGE, ids=["union", "adapter", "light", "lora"])
@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (3, 1, 1, 1, 1)])
def test_a_weight_of_a_strange_shape_is_a_fault_of_its_file(
    tmp_path: Path, recipes: Recipes, strange: dict[str, Tensor], shape: tuple[int, ...]
) -> None:
    sample = [name for name in strange if name != "lora_controlnet"][::7]
    for name in sample:
        save_file({**strange, name: torch.zeros(shape)}, tmp_path / "x")
        with (
            pytest.raises(ModelFileError, match="/x: "),
            Runtime("cpu").controlnet(open_controlnet(tmp_path / "x"), recipes[0]),
        ):
            pass
