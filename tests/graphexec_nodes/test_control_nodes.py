# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion.tiny import UNetSize, write_checkpoint
from diffusion.tiny_control import controlnet_weights, prefixed
from PIL import Image
from safetensors.torch import save_file

import graphexec
import graphexec_nodes
from graphexec.diffusion.types import Conditioning

REGISTRY = graphexec.Registry().with_nodes(graphexec_nodes)
WIDE = UNetSize(context=64)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for kind in ("checkpoints", "controlnet", "input"):
        (root / kind).mkdir()
    write_checkpoint(root / "checkpoints/tiny.safetensors")
    save_file(controlnet_weights(UNetSize()), root / "controlnet/net.safetensors")
    save_file({"other": torch.zeros(1)}, root / "controlnet/other.safetensors")
    difference = prefixed(controlnet_weights(WIDE)) | {"difference": torch.zeros(0)}
    save_file(difference, root / "controlnet/diff.safetensors")
    Image.new("RGB", (24, 16), (255, 0, 0)).save(root / "input/red.png")
    return root


def workflow(apply: str = "ControlNetApplyAdvanced", name: str = "net.safetensors", **inputs: Any) -> dict[str, Any]:
    sides: dict[str, Any] = {"positive": ["yes", 0], "negative": ["no", 0], "start_percent": 0.0, "end_percent": 1.0}
    given = {"conditioning": ["yes", 0]} if apply == "ControlNetApply" else sides
    return {
        "ckpt": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tiny.safetensors"}},
        "yes": {"class_type": "CLIPTextEncode", "inputs": {"text": "red", "clip": ["ckpt", 1]}},
        "no": {"class_type": "CLIPTextEncode", "inputs": {"text": "blue", "clip": ["ckpt", 1]}},
        "load": {"class_type": "LoadImage", "inputs": {"image": "red.png"}},
        "net": {"class_type": "ControlNetLoader", "inputs": {"control_net_name": name}},
        "union": {"class_type": "SetUnionControlNetType", "inputs": {"control_net": ["net", 0], "type": "depth"}},
        "apply": {
            "class_type": apply,
            "inputs": {**given, "control_net": ["union", 0], "image": ["load", 0], "strength": 0.5, **inputs},
        },
    }


def test_both_sides_are_steered(models: Path) -> None:
    given = workflow(start_percent=0.25, end_percent=0.5)
    plan = graphexec.compile(given, registry=REGISTRY, folders=graphexec.Folders.from_roots(models), targets=["apply"])
    result = graphexec.run(plan, graphexec.Context(settings={"device": "cpu"}))
    for slot in (0, 1):
        conditioning = result.value("apply", slot)
        assert isinstance(conditioning, Conditioning)
        (control,) = conditioning.conds[0].controls
        assert (control.strength, control.start, control.end, control.net.union_type) == (0.5, 0.25, 0.5, 1)
        assert control.hint.shape == (1, 16, 24, 3)


def test_one_side_is_steered(models: Path) -> None:
    given = workflow("ControlNetApply")
    plan = graphexec.compile(given, registry=REGISTRY, folders=graphexec.Folders.from_roots(models), targets=["apply"])
    (cond,) = graphexec.run(plan, graphexec.Context(settings={"device": "cpu"})).value("apply").conds
    assert cond.control_uncond
    assert len(cond.controls) == 1


def found(given: dict[str, Any], models: Path) -> list[tuple[str, str, str | None]]:
    compiled = graphexec.check(
        given, registry=REGISTRY, folders=graphexec.Folders.from_roots(models), targets=["apply"]
    )
    return [(each.severity, each.code, each.node) for each in compiled.diagnostics]


def test_a_file_that_steers_nothing_warns_when_it_is_checked(models: Path) -> None:
    assert found(workflow(name="other.safetensors"), models) == [("warning", "invalid_model_file", "net")]


def test_a_difference_to_another_family_is_an_error_before_anything_runs(models: Path) -> None:
    given = workflow(name="diff.safetensors")
    assert not found(given, models)
    given["net"] = {
        "class_type": "DiffControlNetLoader",
        "inputs": {"model": ["ckpt", 0], "control_net_name": "diff.safetensors"},
    }
    assert found(given, models) == [("error", "invalid_model_file", "net")]


def test_controlnets_may_be_told_something_else(models: Path) -> None:
    """Then the model's own prompt is what it was, and the picture another."""

    def sampled(**told: Any) -> torch.Tensor:
        nodes = workflow("ControlNetApply")
        inputs = {"clip": ["ckpt", 1], "conditioning": ["yes", 0], **told}
        nodes["told"] = {"class_type": "CLIPTextEncodeControlnet", "inputs": inputs}
        nodes["apply"]["inputs"]["conditioning"] = ["told", 0] if told else ["yes", 0]
        nodes["latent"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 32, "height": 32, "batch_size": 1}}
        given: dict[str, Any] = {"model": ["ckpt", 0], "positive": ["apply", 0], "negative": ["no", 0]}
        given |= {"latent_image": ["latent", 0], "seed": 1, "steps": 1, "cfg": 2.0, "denoise": 1.0}
        nodes["sample"] = {
            "class_type": "KSampler",
            "inputs": {**given, "sampler_name": "euler", "scheduler": "normal"},
        }
        folders = graphexec.Folders.from_roots(models)
        plan = graphexec.compile(nodes, registry=REGISTRY, folders=folders, targets=["sample"])
        return graphexec.run(plan, graphexec.Context(settings={"device": "cpu"})).value("sample").samples

    assert torch.equal(sampled(), sampled(text="red"))
    assert not torch.equal(sampled(), sampled(text="blue"))
