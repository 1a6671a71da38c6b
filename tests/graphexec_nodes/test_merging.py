"""Nodes that merge, in small workflows."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from diffusion.tiny import write_checkpoint

import graphexec
from graphexec.diffusion.types import MergePatch, Model, ScalePatch
from graphexec.graph.events import Event, Warned
from graphexec_nodes import merging

REGISTRY = graphexec.Registry.standard()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    (root / "checkpoints").mkdir()
    for number in (1, 2):
        write_checkpoint(root / f"checkpoints/{number}.safetensors", seed=number)
    return root


def workflow(kind: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    loaders = {
        str(n): {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": f"{n}.safetensors"}} for n in (1, 2)
    }
    return {**loaders, "merge": {"class_type": kind, "inputs": dict(inputs)}}


def run(models: Path, kind: str, inputs: Mapping[str, Any], seen: list[Event] | None = None) -> Any:
    folders = graphexec.Folders.from_roots(models)
    plan = graphexec.compile(workflow(kind, inputs), registry=REGISTRY, folders=folders, targets=["merge"])
    context = graphexec.Context(settings={"device": "cpu"}, on_event=(seen if seen is not None else []).append)
    return graphexec.run(plan, context).value("merge")


MODELS = {"model1": ["1", 0], "model2": ["2", 0]}
CLIPS = {"clip1": ["1", 1], "clip2": ["2", 1]}


@pytest.mark.parametrize(
    ("kind", "inputs", "ratios"),
    [
        ("ModelMergeSimple", {**MODELS, "ratio": 0.25}, (("", 0.75, 0.25),)),
        ("ModelMergeSubtract", {**MODELS, "multiplier": 2.0}, (("", -2.0, 2.0),)),
        ("ModelMergeAdd", MODELS, (("", 1.0, 1.0),)),
        ("CLIPMergeSimple", {**CLIPS, "ratio": 0.25}, (("", 0.75, 0.25),)),
        ("CLIPMergeSubtract", {**CLIPS, "multiplier": 0.5}, (("", -0.5, 0.5),)),
        ("CLIPMergeAdd", CLIPS, (("", 1.0, 1.0),)),
        (
            "ModelMergeBlocks",
            {**MODELS, "out": 0.75, "input": 0.25, "middle": 0.5},
            (("", 0.75, 0.25), ("input", 0.75, 0.25), ("middle", 0.5, 0.5), ("out", 0.25, 0.75)),
        ),
    ],
)
def test_recipes_of_two(models: Path, kind: str, inputs: dict[str, Any], ratios: Any) -> None:
    (patch,) = run(models, kind, inputs).patches
    assert isinstance(patch, MergePatch)
    assert patch.ratios == ratios


@pytest.mark.parametrize(
    ("kind", "names"),
    [("ModelMergeSD1", merging.SD1), ("ModelMergeSD2", merging.SD1), ("ModelMergeSDXL", merging.SDXL)],
)
def test_a_ratio_for_each_block(models: Path, kind: str, names: tuple[str, ...]) -> None:
    given = {name: number / 64 for number, name in enumerate(reversed(names))}
    (patch,) = run(models, kind, {**MODELS, **given}).patches
    first = given["time_embed."]
    assert patch.ratios == (("", 1 - first, first), *((name, 1 - given[name], given[name]) for name in names))


@pytest.mark.parametrize(
    ("kind", "given", "factors"),
    [
        ("UNetSelfAttentionMultiply", {"q": 2.0}, (("attn1.to_q", 2.0),)),
        ("UNetCrossAttentionMultiply", {"out": 0.5}, (("attn2.to_out.0", 0.5),)),
        ("UNetTemporalAttentionMultiply", {"self_structural": 0.5}, (("attn1.to_out.0", 0.5),)),
    ],
)
def test_factors(models: Path, kind: str, given: dict[str, float], factors: Any) -> None:
    defaults = dict.fromkeys(REGISTRY[kind].inputs, 1.0)
    model: Model = run(models, kind, {**defaults, **given, "model": ["1", 0]})
    assert model.patches == (ScalePatch(factors),)


def test_factors_of_text_encoders(models: Path) -> None:
    clip = run(models, "CLIPAttentionMultiply", {"clip": ["1", 1], "q": 1.0, "k": 0.5, "v": 1.0, "out": 1.0})
    assert clip.patches == (ScalePatch((("self_attn.k_proj", 0.5),)),)


def test_temporal_factors_of_a_model_without_time_are_told(models: Path) -> None:
    seen: list[Event] = []
    inputs = {"self_structural": 1.0, "self_temporal": 2.0, "cross_structural": 1.0, "cross_temporal": 1.0}
    model = run(models, "UNetTemporalAttentionMultiply", {"model": ["1", 0], **inputs}, seen)
    assert not model.patches
    assert [event for event in seen if isinstance(event, Warned)]
