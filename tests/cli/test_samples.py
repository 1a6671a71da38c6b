# pyright: reportUnknownVariableType=false
"""Pictures made while a LoRA is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion.tiny import checkpoint_weights, write_checkpoint, write_lora
from safetensors.torch import save_file

import graphexec_nodes
from graphexec.cli.options import Places
from graphexec.cli.samples import make_sampler, prompt_workflow, trained_nodes
from graphexec.errors import Cancelled, GraphexecError
from graphexec.graph.context import CancelToken
from graphexec.graph.workflow import Workflow, read_workflow
from graphexec.node.registry import Registry, ResourceFactory
from graphexec.train.config import LoopConfig, ModelSource, Noise, Samples, Saving, TrainConfig
from graphexec.train.prompts import Prompt

CONFIG = TrainConfig(ModelSource(Path("base.safetensors")), (), Saving(Path("out"), "style"))
PLACES = Places((), (), Path("input"))


def loaders(*files: str) -> Workflow:
    nodes: Mapping[str, Any] = {
        str(number): {"class_type": "LoraLoader", "inputs": {"lora_name": file, "strength_model": 1.0}}
        for number, file in enumerate(files)
    }
    return read_workflow(dict(nodes))


def no_registry() -> Registry:
    raise AssertionError("no nodes are needed")


def test_nothing_is_made_unless_it_is_asked_for() -> None:
    assert make_sampler(CONFIG, no_registry, PLACES, CancelToken()) is None


def test_the_node_that_names_the_lora_gets_it() -> None:
    assert trained_nodes(loaders("other.safetensors", "style.safetensors"), "style") == ["1"]
    assert trained_nodes(loaders("sub/style.safetensors", "style.safetensors"), "style") == ["0", "1"]
    assert trained_nodes(loaders("other.safetensors", "sub\\style.safetensors"), "style") == ["1"]
    assert trained_nodes(loaders("other.safetensors"), "style") == ["0"]


@pytest.mark.parametrize("files", [(), ("a.safetensors", "b.safetensors")])
def test_workflows_that_leave_it_open(files: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(GraphexecError, match="nodes load LoRAs"):
        trained_nodes(loaders(*files), "style")
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps({"1": {"class_type": "X", "inputs": {}}}), encoding="utf-8")
    wanted = replace(CONFIG, samples=Samples(workflow=path, at_first=True))
    with pytest.raises(GraphexecError, match="nodes load LoRAs"):
        make_sampler(wanted, no_registry, PLACES, CancelToken())


def inputs(nodes: dict[str, Any], name: str) -> dict[str, Any]:
    return nodes[name]["inputs"]


def test_a_prompt_as_a_workflow() -> None:
    prompt = Prompt("a cat", "blurry", 64, 128, 7, 5, 6.5, "euler_a")
    nodes = prompt_workflow(CONFIG, prompt, "style.safetensors", 20)
    assert inputs(nodes, "base") == {"ckpt_name": "base.safetensors"}
    assert inputs(nodes, "lora")["lora_name"] == "style.safetensors"
    assert inputs(nodes, "latent") == {"width": 64, "height": 128, "batch_size": 1}
    sampler = inputs(nodes, "sampler")
    assert (sampler["seed"], sampler["steps"], sampler["cfg"]) == (7, 5, 6.5)
    assert (sampler["sampler_name"], sampler["model"]) == ("euler_ancestral", ["lora", 0])
    assert inputs(nodes, "save")["filename_prefix"] == "style_000020"


def test_the_base_is_read_as_in_the_training(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "base.safetensors")
    model = ModelSource(path, clip_skip=2, v_prediction=True, vae=Path("vae/good.safetensors"))
    nodes = prompt_workflow(replace(CONFIG, model=model), Prompt("a cat"), "style.safetensors", 1)
    assert inputs(nodes, "clip")["stop_at_clip_layer"] == -2
    assert inputs(nodes, "positive")["clip"] == ["clip", 0]
    assert inputs(nodes, "sampler")["model"] == ["model", 0]
    assert inputs(nodes, "model")["sampling"] == "v_prediction"
    assert inputs(nodes, "decode")["vae"] == ["vae", 0]
    assert inputs(nodes, "vae") == {"vae_name": "good.safetensors"}


@pytest.mark.parametrize(("mark", "prediction"), [({"v_pred": torch.zeros(0)}, "v_prediction"), ({}, "eps")])
def test_zero_terminal_snr_with_the_prediction_of_the_file(
    mark: dict[str, torch.Tensor], prediction: str, tmp_path: Path
) -> None:
    save_file(checkpoint_weights() | mark, tmp_path / "base.safetensors")
    config = replace(CONFIG, model=ModelSource(tmp_path / "base.safetensors"), noise=Noise(zero_terminal_snr=True))
    nodes = prompt_workflow(config, Prompt("a cat"), "style.safetensors", 1)
    assert inputs(nodes, "model") == {"model": ["lora", 0], "sampling": prediction, "zsnr": True}
    assert inputs(nodes, "sampler")["model"] == ["model", 0]


def prompted(folder: Path) -> TrainConfig:
    """Settings by which pictures of two prompts are made."""
    (folder / "prompts.txt").write_text("a cat --w 64 --h 64 --s 1\na dog --w 64 --h 64 --s 1\n", encoding="utf-8")
    return TrainConfig(
        ModelSource(folder / "base.safetensors"),
        (),
        Saving(folder, "style"),
        samples=Samples(folder / "prompts.txt", at_first=True, sampler="euler"),
        loop=LoopConfig(seed=1, device="cpu"),
    )


def test_the_base_may_be_a_link_to_another_folder(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "base.safetensors").symlink_to(write_checkpoint(tmp_path / "store"))
    registry = Registry().with_nodes(graphexec_nodes)
    assert make_sampler(prompted(here), lambda: registry, PLACES, CancelToken()) is not None


@pytest.mark.filterwarnings("ignore")  # those of libraries are none of ours
def test_all_prompts_share_one_base_and_a_stop_is_heard(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "base.safetensors")
    lora, made, cancel = write_lora(tmp_path / "style.safetensors"), list[str](), CancelToken()
    registry = Registry().with_nodes(graphexec_nodes)
    counted = {name: counting(name, factory, made) for name, factory in registry.resources.items()}
    sample = make_sampler(prompted(tmp_path), lambda: replace(registry, resources=counted), PLACES, cancel)
    assert sample is not None
    assert len(sample(lora, 1)) == 2
    assert made.count("runtime") == 1
    cancel.cancel()
    with pytest.raises(Cancelled):
        sample(lora, 2)


def counting(name: str, factory: ResourceFactory, made: list[str]) -> ResourceFactory:
    def make(settings: Mapping[str, str]) -> object:
        made.append(name)
        return factory(settings)

    return make
