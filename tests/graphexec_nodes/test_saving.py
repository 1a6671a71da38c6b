"""Nodes that save models, in small workflows."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion.tiny import write_checkpoint
from safetensors.torch import load_file

import graphexec
from graphexec.graph.cache import MemoryCache
from graphexec_nodes.sockets import make_runtime

REGISTRY = graphexec.Registry.standard()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    (root / "checkpoints").mkdir()
    for number in (1, 2):
        write_checkpoint(root / f"checkpoints/{number}.safetensors", seed=number)
    return root


def run(models: Path, context: graphexec.Context, kind: str, inputs: Mapping[str, Any]) -> graphexec.Result:
    workflow: dict[str, Any] = {
        str(n): {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": f"{n}.safetensors"}} for n in (1, 2)
    }
    difference = {"model1": ["1", 0], "model2": ["2", 0], "multiplier": 1.0}
    workflow["diff"] = {"class_type": "ModelMergeSubtract", "inputs": difference}
    workflow["save"] = {"class_type": kind, "inputs": dict(inputs)}
    folders = graphexec.Folders.from_roots(models)
    return graphexec.run(graphexec.compile(workflow, registry=REGISTRY, folders=folders), context)


@pytest.mark.parametrize(
    ("kind", "inputs", "names"),
    [
        (
            "CheckpointSave",
            {"model": ["1", 0], "clip": ["1", 1], "vae": ["1", 2], "filename_prefix": "a/b"},
            ["a/b_00001_.safetensors"],
        ),
        ("ModelSave", {"model": ["diff", 0], "filename_prefix": "m"}, ["m_00001_.safetensors"]),
        ("CLIPSave", {"clip": ["1", 1], "filename_prefix": "c"}, ["c_clip_l_00001_.safetensors"]),
        ("VAESave", {"vae": ["1", 2], "filename_prefix": "v"}, ["v_00001_.safetensors"]),
        (
            "LoraSave",
            {"model_diff": ["diff", 0], "filename_prefix": "l", "rank": 2, "lora_type": "standard", "bias_diff": True},
            ["l_00001_.safetensors"],
        ),
    ],
)
def test_files_are_saved(models: Path, tmp_path: Path, kind: str, inputs: Mapping[str, Any], names: list[str]) -> None:
    result = run(models, graphexec.Context(output=tmp_path, settings={"device": "cpu"}), kind, inputs)
    assert result.ok, result.failures
    assert [path.relative_to(tmp_path).as_posix() for path in result.files["save"]] == names
    assert load_file(tmp_path / names[0])


def test_a_file_that_is_there_is_not_made_again(models: Path, tmp_path: Path) -> None:
    context = graphexec.Context(output=tmp_path, cache=MemoryCache(1 << 20), settings={"device": "cpu"})
    inputs = {"vae": ["1", 2], "filename_prefix": "v"}
    (first,) = run(models, context, "VAESave", inputs).files["save"]
    before = first.stat().st_mtime_ns
    assert run(models, context, "VAESave", inputs).files["save"] == (first,)
    assert first.stat().st_mtime_ns == before
    first.unlink()
    assert run(models, context, "VAESave", inputs).files["save"] == (first,)
    assert torch.equal(load_file(first)["quant_conv.bias"], torch.zeros(8).half())


def test_nothing_to_save_fails_the_node(models: Path, tmp_path: Path) -> None:
    inputs = {"filename_prefix": "l", "rank": 2, "lora_type": "standard", "bias_diff": True}
    result = run(models, graphexec.Context(output=tmp_path, settings={"device": "cpu"}), "LoraSave", inputs)
    assert "no difference" in str(result.failures["save"])


def test_the_runs_precision_reaches_the_runtime() -> None:
    assert make_runtime({"device": "cpu", "precision": "bf16"}).precision == "bf16"
    assert make_runtime({"device": "cpu"}).precision == "fp32"


def test_whether_to_compile_reaches_the_runtime() -> None:
    assert make_runtime({"device": "cpu", "compile": "graphs"}).compiling == "graphs"
    assert make_runtime({"device": "cpu"}).compiling is None
