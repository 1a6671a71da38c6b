# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""What does not belong together is told before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion.tiny import UNetSize, checkpoint_weights, lora_weights, write_checkpoint, write_lora
from diffusion.tiny_control import adapter_weights, controlnet_weights
from safetensors.torch import save_file

import graphexec

REGISTRY = graphexec.Registry.standard()
WIDE = UNetSize(context=64)
UNET = "model.diffusion_model."
TEXT = "cond_stage_model.transformer."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of two families, networks of the first in files of their own, and what fits neither."""
    root = tmp_path_factory.mktemp("models")
    for kind in ("checkpoints", "controlnet", "loras", "diffusion_models", "text_encoders"):
        (root / kind).mkdir()
    write_checkpoint(root / "checkpoints/sd1.safetensors")
    write_checkpoint(root / "checkpoints/sdxl.safetensors", family="sdxl")
    whole = checkpoint_weights()
    for prefix, kind in ((UNET, "diffusion_models"), (TEXT, "text_encoders")):
        part = {name.removeprefix(prefix): weight for name, weight in whole.items() if name.startswith(prefix)}
        save_file(part, root / kind / "sd1.safetensors")
    write_lora(root / "loras/wide.safetensors", 1, size=WIDE)
    own = lora_weights(1)
    save_file(own, root / "loras/own.safetensors")
    save_file(
        {**own, **{f"lora_unet_nowhere.lora_{way}.weight": torch.ones(4, 4) for way in ("up", "down")}},
        root / "loras/more.safetensors",
    )
    save_file(controlnet_weights(UNetSize()), root / "controlnet/sd1.safetensors")
    save_file(controlnet_weights(WIDE), root / "controlnet/wide.safetensors")
    save_file(adapter_weights(xl=True), root / "controlnet/adapter.safetensors")
    save_file(adapter_weights(48), root / "controlnet/adapter48.safetensors")
    return root


Nodes = Mapping[str, tuple[str, Mapping[str, Any]]]
LOADED: Nodes = {
    "sd1": ("CheckpointLoaderSimple", {"ckpt_name": "sd1.safetensors"}),
    "sdxl": ("CheckpointLoaderSimple", {"ckpt_name": "sdxl.safetensors"}),
    "own": ("CLIPTextEncode", {"text": "a cat", "clip": ["sd1", 1]}),
    "other": ("CLIPTextEncode", {"text": "a cat", "clip": ["sdxl", 1]}),
    "latent": ("EmptyLatentImage", {"width": 32, "height": 32, "batch_size": 1}),
}


def sampled(positive: str, negative: str = "own", model: str = "sd1") -> Nodes:
    settings = {"seed": 1, "steps": 1, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    links = {"model": [model, 0], "positive": [positive, 0], "negative": [negative, 0], "latent_image": ["latent", 0]}
    return {"it": ("KSampler", {**settings, **links})}


def checked(models: Path, *parts: Nodes, strict_lora: bool = False) -> list[graphexec.Diagnostic]:
    """What is wrong with a workflow, whose nodes are not all in use."""
    nodes = {name: node for part in (LOADED, *parts) for name, node in part.items()}
    workflow = {name: {"class_type": kind, "inputs": dict(inputs)} for name, (kind, inputs) in nodes.items()}
    folders = graphexec.Folders.from_roots(models)
    told = graphexec.check(workflow, registry=REGISTRY, folders=folders, targets=["it"], strict_lora=strict_lora)
    return [each for each in told.diagnostics if each.code != "unused_node"]


def found(models: Path, *parts: Nodes) -> list[tuple[str, str | None, str | None]]:
    """The faults of a workflow: code, node and input."""
    return [(each.code, each.node, each.input) for each in checked(models, *parts)]


def test_what_belongs_together(models: Path) -> None:
    assert found(models, sampled("own")) == []
    assert found(models, sampled("other", "other", "sdxl")) == []


@pytest.mark.parametrize("wire", ["MODEL", "CLIP", "CONDITIONING", "CONTROL_NET"])
def test_no_node_forgets_what_it_passes_on(wire: str) -> None:
    specs = [spec for name in REGISTRY if (spec := REGISTRY.get(name)) is not None]
    passing = [
        spec
        for spec in specs
        if wire in [given.wire for given in spec.inputs.values()] and wire in [out.wire for out in spec.outputs]
    ]
    assert passing
    assert [spec.name for spec in passing if spec.infer is None] == []


def test_checkpoints_are_saved_with_their_own_text_encoders(models: Path) -> None:
    def saved(clip: str) -> Nodes:
        links = {"model": ["sdxl", 0], "clip": [clip, 1], "vae": ["sd1", 2]}
        return {"it": ("CheckpointSave", {**links, "filename_prefix": "x"})}

    assert found(models, saved("sdxl")) == []
    assert found(models, saved("sd1")) == [("static_fact", "it", "clip")]


FOREIGN = ("conditioning_of_another_family", "it", "positive")
AREA = {"width": 64, "height": 64, "x": 0, "y": 0, "strength": 1.0}
SIDES = (("positive", "A", "own"), ("negative", "A", "own"), ("positive", "B", "own"), ("negative", "B", "other"))
RANGE = {"start": 0.0, "end": 0.5}


@pytest.mark.parametrize(
    "made",
    [
        ("ConditioningCombine", {"conditioning_1": ["own", 0], "conditioning_2": ["other", 0]}),
        ("ConditioningConcat", {"conditioning_to": ["own", 0], "conditioning_from": ["other", 0]}),
        ("ConditioningSetArea", {"conditioning": ["other", 0], **AREA}),
        ("ConditioningSetTimestepRange", {"conditioning": ["other", 0], **RANGE}),
        ("ConditioningZeroOut", {"conditioning": ["other", 0]}),
        ("ConditioningSetProperties", {"cond_NEW": ["other", 0], "strength": 1.0, "set_cond_area": "default"}),
        ("CLIPTextEncode", {"text": "a cat", "clip": ["stopped", 0]}),
    ],
)
def test_prompts_of_another_family(models: Path, made: tuple[str, dict[str, Any]]) -> None:
    stopped: Nodes = {"stopped": ("CLIPSetLastLayer", {"clip": ["sdxl", 1], "stop_at_clip_layer": -2})}
    assert found(models, stopped, {"made": made}, sampled("made")) == [FOREIGN]


@pytest.mark.parametrize(("x", "y", "outside"), [(24, 24, False), (32, 0, True), (0, 640, True)])
def test_an_area_outside_the_picture(models: Path, x: int, y: int, *, outside: bool) -> None:
    def area(name: str, x: int, y: int) -> Nodes:
        return {name: ("ConditioningSetArea", {"conditioning": ["own", 0], **AREA, "x": x, "y": y})}

    both: Nodes = {"both": ("ConditioningCombine", {"conditioning_1": ["own", 0], "conditioning_2": ["part", 0]})}
    told = checked(models, area("part", x, y), both, sampled("both"))
    assert [(each.code, each.severity, each.node, each.input) for each in told] == [
        ("area_outside_picture", "warning", "it", "positive")
    ] * outside
    assert all(f"begins at {x}, {y}, outside the picture of 32x32" in each.message for each in told)


def test_prompts_in_pairs_keep_their_side(models: Path) -> None:
    links = {f"{side}_{which}": [name, 0] for side, which, name in SIDES}
    pairs: Nodes = {"pairs": ("PairConditioningCombine", links)}
    (workflow,) = sampled("own").values()
    inputs = {**workflow[1], "positive": ["pairs", 0], "negative": ["pairs", 1]}
    assert found(models, pairs, {"it": (workflow[0], inputs)}) == [(FOREIGN[0], "it", "negative")]


def test_both_sides_and_every_way_to_sample(models: Path) -> None:
    assert found(models, sampled("other", "other")) == [FOREIGN, (FOREIGN[0], "it", "negative")]
    guider: Nodes = {"it": ("BasicGuider", {"model": ["sd1", 0], "conditioning": ["other", 0]})}
    assert found(models, guider) == [(FOREIGN[0], "it", "conditioning")]
    sides = {"cond1": ["own", 0], "cond2": ["other", 0], "negative": ["own", 0]}
    dual: Nodes = {
        "it": (
            "DualCFGGuider",
            {"model": ["sd1", 0], **sides, "cfg_conds": 2.0, "cfg_cond2_negative": 2.0, "style": "regular"},
        )
    }
    assert [place for _code, _node, place in found(models, dual)] == ["cond2"]


@pytest.mark.parametrize("name", ["wide.safetensors", "adapter.safetensors", "adapter48.safetensors"])
def test_controlnets_of_another_family(models: Path, name: str) -> None:
    steering = {
        "control_net": ["net", 0],
        "image": ["grey", 0],
        "strength": 1.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
    }
    steered: Nodes = {
        "net": ("ControlNetLoader", {"control_net_name": name}),
        "grey": ("EmptyImage", {"width": 32, "height": 32, "batch_size": 1, "color": 0}),
        "steered": ("ControlNetApplyAdvanced", {"positive": ["own", 0], "negative": ["own", 0], **steering}),
    }
    assert found(models, steered, sampled("steered")) == [("control_of_another_family", "it", "positive")]
    fits = {**steered, "net": ("ControlNetLoader", {"control_net_name": "sd1.safetensors"})}
    assert found(models, fits, sampled("steered")) == []


APART: Nodes = {
    "unet": ("UNETLoader", {"unet_name": "sd1.safetensors", "weight_dtype": "default"}),
    "clip": ("CLIPLoader", {"clip_name": "sd1.safetensors", "type": "stable_diffusion"}),
    "text": ("CLIPTextEncode", {"text": "a cat", "clip": ["clip", 0]}),
    "free": ("FreeU", {"model": ["unet", 0], "b1": 1.1, "b2": 1.2, "s1": 0.9, "s2": 0.2}),
}


class TestFilesOfTheirOwn:
    def test_they_fit(self, models: Path) -> None:
        assert found(models, APART, sampled("text", model="unet")) == []

    def test_their_prompts(self, models: Path) -> None:
        assert found(models, APART, sampled("text", "other", model="sdxl")) == [FOREIGN]
        assert found(models, APART, sampled("other", "text", model="free")) == [FOREIGN]

    def test_a_lora_for_a_patched_model(self, models: Path) -> None:
        lora = {"lora_name": "wide.safetensors", "strength_model": 1.0, "model": ["free", 0]}
        assert found(models, APART, {"it": ("LoraLoaderModelOnly", lora)}) == [
            ("invalid_model_file", "it", "lora_name")
        ]

    def test_a_file_that_cannot_be_read_warns(self, models: Path) -> None:
        (models / "diffusion_models/broken.safetensors").write_bytes(b"<html>")
        broken: Nodes = {"it": ("UNETLoader", {"unet_name": "broken.safetensors", "weight_dtype": "default"})}
        assert found(models, broken) == [("invalid_model_file", "it", "unet_name")]


BAD = ("invalid_model_file", "it", "positive")


def hook(lora: str = "wide.safetensors", **links: Any) -> tuple[str, dict[str, Any]]:
    return "CreateHookLora", {"lora_name": lora, "strength_model": 1.0, "strength_clip": 1.0, **links}


def carried(hooks: str = "hook", cond: str = "own") -> tuple[str, dict[str, Any]]:
    inputs = {"cond_NEW": [cond, 0], "strength": 1.0, "set_cond_area": "default", "hooks": [hooks, 0]}
    return "ConditioningSetProperties", inputs


class TestHooks:
    """LoRAs that hooks carry are matched with the model."""

    def test_a_hook_that_suits(self, models: Path) -> None:
        assert found(models, {"hook": hook("own.safetensors"), "led": carried()}, sampled("led")) == []

    def test_a_lora_of_another_family_on_a_prompt(self, models: Path) -> None:
        parts: Nodes = {"hook": hook(), "led": carried()}
        assert found(models, parts, sampled("led")) == [BAD]
        assert found(models, parts, sampled("led", "led")) == [BAD]
        assert found(models, parts, sampled("own", "led")) == [("invalid_model_file", "it", "negative")]

    def test_it_is_told_through_whatever_passes_hooks_on(self, models: Path) -> None:
        through: Nodes = {
            "first": hook(),
            "second": hook("own.safetensors", prev_hooks=["first", 0]),
            "framed": ("SetHookKeyframes", {"hooks": ["second", 0]}),
            "joined": ("CombineHooks2", {"hooks_A": ["framed", 0]}),
            "pair": (
                "PairConditioningSetProperties",
                {
                    "positive_NEW": ["own", 0], "negative_NEW": ["own", 0], "strength": 1.0, "set_cond_area": "default",
                    "hooks": ["joined", 0],
                },
            ),
            "both": ("ConditioningCombine", {"conditioning_1": ["own", 0], "conditioning_2": ["pair", 1]}),
        }  # fmt: skip
        assert found(models, through, sampled("both")) == [BAD]

    @pytest.mark.parametrize(("led", "at"), [(True, ["hooked", "it"]), (False, ["hooked"])])
    def test_on_a_text_encoder_it_is_told_there_and_where_its_prompts_lead(
        self, models: Path, led: bool, at: list[str]
    ) -> None:
        parts: Nodes = {
            "hook": hook(),
            "hooked": (
                "SetClipHooks",
                {"clip": ["sd1", 1], "apply_to_conds": led, "schedule_clip": False, "hooks": ["hook", 0]},
            ),
            "text": ("CLIPTextEncode", {"text": "x", "clip": ["hooked", 0]}),
        }
        assert [node for _code, node, _input in found(models, parts, sampled("text"))] == at

    def test_what_is_at_strength_0_is_not_read(self, models: Path) -> None:
        silent = hook(strength_model=0.0, strength_clip=0.0)
        assert found(models, {"hook": silent, "led": carried()}, sampled("led")) == []

    def test_a_model_of_another_family(self, models: Path) -> None:
        inputs = {"ckpt_name": "sdxl.safetensors", "strength_model": 1.0, "strength_clip": 1.0}
        parts: Nodes = {"hook": ("CreateHookModelAsLora", inputs), "led": carried()}
        assert found(models, parts, sampled("led")) == [("static_fact", "it", "positive")]

    def test_what_is_used_in_part_is_a_warning_and_an_error_if_that_is_wished(self, models: Path) -> None:
        parts: Nodes = {"hook": hook("more.safetensors"), "led": carried()}
        for strict, severity in ((False, "warning"), (True, "error")):
            (told,) = checked(models, parts, sampled("led"), strict_lora=strict)
            assert (told.code, told.severity, told.node, told.input) == ("lora_partly_used", severity, "it", "positive")
