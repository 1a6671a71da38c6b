"""The built-in nodes in small workflows, over a checkpoint of random weights in SD1.x's layout."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion.tiny import UNetSize, write_checkpoint, write_lora
from PIL import Image
from safetensors.torch import load_file, save_file

import graphexec
from graphexec.diffusion.codecs import CODECS
from graphexec.diffusion.types import SizeHint
from graphexec.graph.events import Event, Warned
from graphexec.graph.store import DiskStore

REGISTRY = graphexec.Registry.standard()
OTHER_WIDTH = UNetSize(32, (1, 2), 1, (True, True), 48)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder: a checkpoint, a LoRA that fits, one in part, one of another family, and a broken file."""
    root = tmp_path_factory.mktemp("models")
    for kind in ("checkpoints", "loras", "vae", "input"):
        (root / kind).mkdir()
    write_checkpoint(root / "checkpoints" / "tiny.safetensors")
    lora = write_lora(root / "loras" / "fits.safetensors", 1)
    stranger = {
        "lora_unet_nowhere.lora_up.weight": torch.zeros(4, 2),
        "lora_unet_nowhere.lora_down.weight": torch.zeros(2, 4),
    }
    save_file({**load_file(lora), **stranger}, root / "loras" / "partly.safetensors")
    write_lora(root / "loras" / "other.safetensors", 1, size=OTHER_WIDTH)
    (root / "checkpoints" / "broken.safetensors").write_bytes(b"<html>not found</html>")
    weights = load_file(root / "checkpoints" / "tiny.safetensors")
    vae = {name.removeprefix("first_stage_model."): t for name, t in weights.items() if name.startswith("first_stage")}
    save_file(vae, root / "vae" / "own.safetensors")
    Image.new("RGBA", (24, 16), (255, 0, 0, 128)).save(root / "input" / "red.png")
    return root


def chain(**changes: Mapping[str, Any]) -> dict[str, Any]:
    """Checkpoint, LoRA, prompts, sampler, VAE, PreviewAny; inputs of a node are changed by its id."""
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        "ckpt": ("CheckpointLoaderSimple", {"ckpt_name": "tiny.safetensors"}),
        "lora": (
            "LoraLoader",
            {
                "model": ["ckpt", 0], "clip": ["ckpt", 1], "lora_name": "fits.safetensors",
                "strength_model": 1.0, "strength_clip": 1.0,
            },
        ),
        "text": ("CLIPTextEncode", {"text": "a cat", "clip": ["lora", 1]}),
        "latent": ("EmptyLatentImage", {"width": 32, "height": 32, "batch_size": 1}),
        "sampler": (
            "KSampler",
            {
                "model": ["lora", 0], "seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal",
                "positive": ["text", 0], "negative": ["text", 0], "latent_image": ["latent", 0], "denoise": 1.0,
            },
        ),
        "decode": ("VAEDecode", {"samples": ["sampler", 0], "vae": ["ckpt", 2]}),
        "save": ("SaveImage", {"images": ["decode", 0], "filename_prefix": "x"}),
    }  # fmt: skip
    return {
        name: {"class_type": kind, "inputs": {**inputs, **changes.get(name, {})}}
        for name, (kind, inputs) in nodes.items()
    }


def plan_of(workflow: Mapping[str, Any], models: Path, *targets: str) -> graphexec.Plan:
    folders = graphexec.Folders.from_roots(models)
    return graphexec.compile(workflow, registry=REGISTRY, folders=folders, targets=targets or None)


def found(workflow: Mapping[str, Any], models: Path) -> list[graphexec.Diagnostic]:
    compiled = graphexec.check(workflow, registry=REGISTRY, folders=graphexec.Folders.from_roots(models))
    return list(compiled.diagnostics)


def test_the_chain_runs(models: Path, tmp_path: Path) -> None:
    result = graphexec.run(plan_of(chain(), models), graphexec.Context(output=tmp_path, settings={"device": "cpu"}))
    (path,) = result.files["save"]
    with Image.open(path) as picture:
        assert picture.size == (32, 32)
        assert json.loads(picture.info["prompt"]) == chain()


def test_what_lies_beside_a_lora_is_part_of_it(models: Path) -> None:
    folder = models / "loras" / "peft"
    folder.mkdir()
    write_lora(folder / "adapter_model.safetensors", 1)
    workflow, keys = chain(lora={"lora_name": "peft/adapter_model.safetensors"}), list[bytes | None]()
    for text in ("", '{"lora_alpha": 1}', '{"lora_alpha": 2}'):
        if text:
            (folder / "adapter_config.json").write_text(text)
        keys.append(graphexec.Context(cache=graphexec.MemoryCache(2**20)).keys(plan_of(workflow, models))["lora"])
    assert len(set(keys)) == 3 and None not in keys


def test_a_vae_of_its_own_decodes_alike(models: Path) -> None:
    context = graphexec.Context(settings={"device": "cpu"})
    workflow = chain(decode={"vae": ["vae", 0]})
    workflow["vae"] = {"class_type": "VAELoader", "inputs": {"vae_name": "own.safetensors"}}
    pictures = [graphexec.run(plan_of(w, models, "decode"), context).value("decode") for w in (chain(), workflow)]
    assert torch.equal(pictures[0], pictures[1])


def test_pictures_are_encoded_and_masks_are_what_alpha_leaves_out(models: Path) -> None:
    workflow = {
        "ckpt": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tiny.safetensors"}},
        "load": {"class_type": "LoadImage", "inputs": {"image": "red.png"}},
        "encode": {"class_type": "VAEEncode", "inputs": {"pixels": ["load", 0], "vae": ["ckpt", 2]}},
    }
    plan = plan_of(workflow, models, "load", "encode")
    result = graphexec.run(plan, graphexec.Context(settings={"device": "cpu"}))
    assert result.value("load", 0).shape == (1, 16, 24, 3)
    assert torch.allclose(result.value("load", 1), torch.full((1, 16, 24), 127 / 255))
    assert result.value("encode").samples.shape == (1, 4, 2, 3)


class TestFacts:
    def test_sizes_are_known_before_anything_runs(self, models: Path) -> None:
        facts = plan_of(chain(), models).nodes["decode"].facts[0]
        assert (facts["picture"], facts["bytes"]) == ((32, 32, 1), 32 * 32 * 3 * 4)

    def test_a_size_that_will_be_rounded_is_said(self, models: Path) -> None:
        (note,) = found(chain(latent={"width": 67}), models)
        assert (note.severity, note.code, note.node, note.input) == ("warning", "size_rounded_down", "latent", "width")

    def test_a_lora_of_another_family_is_an_error_before_anything_runs(self, models: Path) -> None:
        (fault,) = found(chain(lora={"lora_name": "other.safetensors"}), models)
        assert (fault.severity, fault.code, fault.node, fault.input) == (
            "error",
            "invalid_model_file",
            "lora",
            "lora_name",
        )

    def test_a_file_that_is_no_checkpoint_warns_and_fails_when_it_is_loaded(self, models: Path) -> None:
        workflow = chain(ckpt={"ckpt_name": "broken.safetensors"})
        (fault,) = found(workflow, models)
        assert (fault.code, fault.severity, fault.node) == ("invalid_model_file", "warning", "ckpt")
        result = graphexec.run(plan_of(workflow, models), graphexec.Context(settings={"device": "cpu"}))
        assert set(result.failures) == {"ckpt"}

    def test_a_part_that_a_checkpoint_lacks_is_an_error_where_it_is_used(self, models: Path, tmp_path: Path) -> None:
        whole = load_file(models / "checkpoints" / "tiny.safetensors")
        bare = {name: tensor for name, tensor in whole.items() if not name.startswith("first_stage_model.")}
        save_file(bare, models / "checkpoints" / "novae.safetensors")
        workflow = chain(ckpt={"ckpt_name": "novae.safetensors"})
        (fault,) = found(workflow, models)
        assert (fault.code, fault.severity, fault.node, fault.input) == ("absent_input", "error", "decode", "vae")
        assert "novae.safetensors" in fault.message and "VAELoader" in fault.message
        workflow["vae"] = {"class_type": "VAELoader", "inputs": {"vae_name": "own.safetensors"}}
        workflow["decode"]["inputs"]["vae"] = ["vae", 0]
        assert found(workflow, models) == []
        context = graphexec.Context(output=tmp_path, settings={"device": "cpu"})
        assert not graphexec.run(plan_of(workflow, models), context).failures

    def test_a_pickled_checkpoint_is_not_said_to_fail(self, models: Path) -> None:
        (models / "checkpoints" / "old.ckpt").write_bytes(b"PK\x03\x04 and more")
        (fault,) = found(chain(ckpt={"ckpt_name": "old.ckpt"}), models)
        assert (fault.code, fault.severity) == ("invalid_model_file", "warning")
        assert "--allow-pickle" in (fault.hint or "")

    def test_what_a_lora_does_not_change_is_said_once(self, models: Path, tmp_path: Path) -> None:
        plan = plan_of(chain(lora={"lora_name": "partly.safetensors"}), models)
        (note,) = plan.diagnostics
        assert (note.severity, note.code) == ("warning", "lora_partly_used")
        assert "2 of" in note.message
        strictly = graphexec.check(
            chain(lora={"lora_name": "partly.safetensors"}),
            registry=REGISTRY,
            folders=graphexec.Folders.from_roots(models),
            strict_lora=True,
        )
        assert strictly.plan is None
        assert [found.severity for found in strictly.diagnostics] == ["error"]
        seen: list[Event] = []
        graphexec.run(plan, graphexec.Context(output=tmp_path, settings={"device": "cpu"}, on_event=seen.append))
        assert not [event for event in seen if isinstance(event, Warned)]


def test_the_size_that_a_refiners_prompt_tells_is_also_what_a_base_model_is_to_make(models: Path) -> None:
    write_checkpoint(models / "checkpoints" / "sdxl.safetensors", family="sdxl")
    workflow = {
        "ckpt": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl.safetensors"}},
        "text": {
            "class_type": "CLIPTextEncodeSDXLRefiner",
            "inputs": {"ascore": 7.0, "width": 768, "height": 512, "text": "a cat", "clip": ["ckpt", 1]},
        },
    }
    folders = graphexec.Folders.from_roots(models)
    plan = graphexec.compile(workflow, registry=REGISTRY, folders=folders, targets=["text"])
    found = graphexec.run(plan, graphexec.Context(settings={"device": "cpu"})).value("text")
    assert found.conds[0].size == SizeHint(768, 512, 0, 0, 768, 512, 7.0)


def hooked(lora_name: str) -> dict[str, Any]:
    """The chain from a pickled checkpoint, with a LoRA that only the prompt's hooks apply."""
    workflow = chain(ckpt={"ckpt_name": "tiny.ckpt"}, sampler={"model": ["ckpt", 0]}, text={"clip": ["hooked", 0]})
    del workflow["lora"]
    workflow["hook"] = {
        "class_type": "CreateHookLora",
        "inputs": {"lora_name": lora_name, "strength_model": 1.0, "strength_clip": 1.0},
    }
    workflow["hooked"] = {
        "class_type": "SetClipHooks",
        "inputs": {"clip": ["ckpt", 1], "apply_to_conds": True, "schedule_clip": False, "hooks": ["hook", 0]},
    }
    return workflow


def test_a_hook_counts_once_by_two_ways_and_equal_ones_of_two_nodes_add_up(models: Path, tmp_path: Path) -> None:
    lora = {"lora_name": "fits.safetensors", "strength_model": 1.0, "strength_clip": 1.0}
    workflow = {
        **{name: {"class_type": "CreateHookLora", "inputs": lora} for name in ("one", "two")},
        "same": {"class_type": "CombineHooks2", "inputs": {"hooks_A": ["one", 0], "hooks_B": ["one", 0]}},
        "both": {"class_type": "CombineHooks2", "inputs": {"hooks_A": ["one", 0], "hooks_B": ["two", 0]}},
    }
    folders = graphexec.Folders.from_roots(models)
    plan = graphexec.compile(workflow, registry=REGISTRY, folders=folders, targets=["same", "both"])
    for _ in range(2):  # from the nodes, then from the disk
        cache = graphexec.TieredCache(None, DiskStore(tmp_path / "cache", CODECS))
        result = graphexec.run(plan, graphexec.Context(cache=cache))
        assert [len(result.value(name).hooks) for name in ("same", "both")] == [1, 2]


@pytest.mark.parametrize("strictly", [False, True])
@pytest.mark.parametrize("case", ["pickled", "hook"])
def test_what_the_run_alone_can_tell_of_a_lora_is_an_error_there_if_that_is_wanted(
    case: str, strictly: bool, models: Path, tmp_path: Path
) -> None:
    torch.save(load_file(models / "checkpoints" / "tiny.safetensors"), models / "checkpoints" / "tiny.ckpt")
    lora = {"lora_name": "partly.safetensors"}
    workflow = hooked(**lora) if case == "hook" else chain(ckpt={"ckpt_name": "tiny.ckpt"}, lora=lora)
    seen: list[Event] = []
    settings = {"device": "cpu", "allow_pickle": "yes", **({"strict_lora": "yes"} if strictly else {})}
    context = graphexec.Context(output=tmp_path, settings=settings, on_event=seen.append)
    failures = graphexec.run(plan_of(workflow, models), context).failures
    told = [event.node for event in seen if isinstance(event, Warned)]
    fails = "sampler" if case == "hook" else "lora"
    assert (list(failures), told) == (([fails], []) if strictly else ([], [fails]))


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize(
    "kind", ["CheckpointLoaderSimple", "CheckpointLoader", "CreateHookModelAsLora", "CreateHookModelAsLoraModelOnly"]
)
def test_whatever_opens_checkpoints_opens_pickled_ones_where_that_is_allowed(
    kind: str, allowed: bool, models: Path
) -> None:
    torch.save(load_file(models / "checkpoints" / "tiny.safetensors"), models / "checkpoints" / "tiny.ckpt")
    (models / "configs").mkdir(exist_ok=True)
    (models / "configs" / "v1.yaml").write_text("model: {params: {}}")
    known = {"ckpt_name": "tiny.ckpt", "config_name": "v1.yaml", "strength_model": 1.0, "strength_clip": 1.0}
    inputs = {name: known[name] for name in REGISTRY[kind].inputs if name in known}
    folders = graphexec.Folders.from_roots(models)
    workflow = {"it": {"class_type": kind, "inputs": inputs}}
    plan = graphexec.compile(workflow, registry=REGISTRY, folders=folders, targets=["it"])
    settings = {"device": "cpu", **({"allow_pickle": "yes"} if allowed else {})}
    assert bool(graphexec.run(plan, graphexec.Context(settings=settings)).failures) != allowed


def test_importing_and_reading_every_node_leaves_torch_alone() -> None:
    script = (
        "import sys; sys.modules.update(torch=None, safetensors=None, tokenizers=None, numpy=None)\n"
        "from graphexec import Registry\n"
        "registry = Registry.standard()\n"
        "print(len([registry[name] for name in registry]))"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(process.stdout) == len(REGISTRY) > 15


def by_block(vector: str, kind: str = "LoraLoaderBlockWeight", **inputs: Any) -> dict[str, Any]:
    """The chain with strengths by block; strengths, seed, A and B are 1."""
    workflow = chain()
    every = {"inverse": False, "seed": 1, "A": 1.0, "B": 1.0, "block_vector": vector}
    workflow["lora"] = {"class_type": kind, "inputs": {**workflow["lora"]["inputs"], **every, **inputs}}
    return workflow


INSPIRE = "LoraLoaderBlockWeight //Inspire"
OF_INSPIRE = {"category_filter": "All", "preset": "Preset", "bypass": False}


@pytest.mark.parametrize("kind", ["LoraLoaderBlockWeight", INSPIRE])
def test_a_lora_by_block_says_which_values_it_used(kind: str, models: Path) -> None:
    workflow = by_block("SD-INS", kind, inverse=True, **(OF_INSPIRE if kind == INSPIRE else {}))
    result = graphexec.run(plan_of(workflow, models, "lora"), graphexec.Context(settings={"device": "cpu"}))
    assert result.value("lora", 2) == "0,0,0,0,1,1,1,1,1,1,1,1,1,1,1,1,1"
    assert dict(result.value("lora", 0).patches[-1].blocks)["output_blocks.3"] == 1.0


def test_block_weights_that_do_nothing_are_told_before_anything_runs(models: Path) -> None:
    (first, *_) = found(by_block("ALL"), models)
    assert (first.code, first.severity, first.input) == ("block_weights_partly_used", "warning", "block_vector")
    assert "change nothing" in first.message and "input_blocks.8" in first.message
    seen: list[Event] = []
    context = graphexec.Context(settings={"device": "cpu"}, on_event=seen.append)
    graphexec.run(plan_of(by_block("ALL"), models, "lora"), context)
    assert not [event for event in seen if isinstance(event, Warned)]


def test_a_vector_of_unknown_length_is_an_error_before_anything_runs(models: Path) -> None:
    (fault,) = found(by_block("1,1"), models)
    assert (fault.code, fault.severity, fault.input) == ("invalid_block_vector", "error", "block_vector")


def test_what_is_bypassed_is_not_checked(models: Path) -> None:
    workflow = by_block("1,1", INSPIRE, **{**OF_INSPIRE, "bypass": True})
    result = graphexec.run(plan_of(workflow, models, "lora"), graphexec.Context(settings={"device": "cpu"}))
    assert result.value("lora", 0).patches == () and result.value("lora", 2) == ""


@pytest.mark.parametrize("kind", ["LoraLoader", "LoraLoaderModelOnly", "LoraLoaderBlockWeight", INSPIRE])
def test_a_lora_at_strengths_of_0_is_not_read(kind: str, models: Path) -> None:
    none = {"lora_name": "other.safetensors", "strength_model": 0, "strength_clip": 0.0}
    workflow = by_block("NONE", kind, **none, **(OF_INSPIRE if kind == INSPIRE else {}))
    assert "invalid_model_file" not in {each.code for each in found(workflow, models)}
    result = graphexec.run(plan_of(workflow, models, "lora"), graphexec.Context(settings={"device": "cpu"}))
    assert result.value("lora", 0).patches == ()


def test_loras_up_to_a_node_are_computed_as_comfyui_does(models: Path) -> None:
    workflow = chain()
    workflow["compatible"] = {
        "class_type": "LoraCompatibility",
        "inputs": {"model": ["lora", 0], "clip": ["lora", 1]},
    }
    result = graphexec.run(plan_of(workflow, models, "compatible"), graphexec.Context(settings={"device": "cpu"}))
    for slot in (0, 1):
        recipe = result.value("compatible", slot)
        assert [patch.comfy for patch in recipe.patches] == [True]
        assert [patch.comfy for patch in recipe.patched(models / "loras" / "fits.safetensors", 1.0).patches] == [
            True,
            False,
        ]
