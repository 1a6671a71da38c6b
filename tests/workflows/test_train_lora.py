"""A graph that trains a LoRA, saves it, plots the loss and samples with it."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion.tiny import write_checkpoint
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import graphexec
from graphexec.diffusion.imaging.pixels import load_picture
from graphexec.errors import Cancelled
from graphexec.graph import events
from graphexec.graph.context import CancelToken

ROOT = Path(__file__).parents[2]
TRAINING = ROOT / "workflows/train_lora.json"
REGISTRY = graphexec.Registry.standard()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model and three captioned pictures of two sizes."""
    folder = tmp_path_factory.mktemp("home")
    pictures = folder / "input/training/2_sks"
    pictures.mkdir(parents=True)
    for name, size in (("red", (64, 64)), ("lime", (64, 32))):
        Image.new("RGB", size, name).save(pictures / f"{name}.png")
        (pictures / f"{name}.txt").write_text(f"a {name} thing", encoding="utf-8")
    Image.new("RGB", (64, 64), "blue").save(folder / "input/training/blue.png")
    (folder / "input/training/blue.txt").write_text("a blue thing", encoding="utf-8")
    (folder / "models/checkpoints").mkdir(parents=True)
    write_checkpoint(folder / "models/checkpoints/graphexec-tiny.safetensors")
    return folder


def run(home: Path, changes: Mapping[str, Any] = {}, **more: Any) -> graphexec.Result:
    document = json.loads(TRAINING.read_text("utf-8"))
    for place, value in {"train.steps": 3, "sampler.steps": 2, **changes}.items():
        node, name = place.split(".")
        document[node]["inputs"][name] = value
    folders = graphexec.Folders.standard([home / "models"], input_dir=home / "input", output_dir=home / "output")
    context = graphexec.Context(
        cache=graphexec.TieredCache(None, graphexec.DiskStore(home / "cache", REGISTRY.codecs)),
        output=home / "output",
        settings={"device": "cpu"},
        **more,
    )
    return graphexec.run(graphexec.compile(document, registry=REGISTRY, folders=folders), context)


def test_it_trains_saves_plots_and_samples(home: Path) -> None:
    seen: list[events.Event] = []
    result = run(home, on_event=seen.append)
    assert result.ok, result.failures
    (lora,), (plot,), (picture,) = (result.files[node] for node in ("keep", "loss", "save"))
    assert lora == home / "output/loras/my_style_3_steps_00001_.safetensors"
    with safe_open(lora, framework="pt") as file:
        assert file.metadata()["ss_steps"] == "3"
    assert any(tensor.abs().sum() for name, tensor in load_file(lora).items() if "lora_up" in name)
    with Image.open(plot) as drawn, Image.open(picture) as sampled:
        assert drawn.size == (840, 520) and sampled.size == (128, 128)
    steps = [
        (event.done, event.total) for event in seen if isinstance(event, events.Progressed) and event.node == "train"
    ]
    assert steps == [(1, 3), (2, 3), (3, 3)]
    again = run(home)
    assert again.executed == ()
    assert again.files == result.files


def test_a_caption_that_changes_trains_again(home: Path) -> None:
    run(home)
    caption = home / "input/training/blue.txt"
    caption.write_text("a bluish thing", encoding="utf-8")
    assert {"pictures", "train"} <= set(run(home).executed)
    caption.write_text("a blue thing", encoding="utf-8")


def test_the_saved_lora_loads_whole_and_is_the_one_that_was_trained(home: Path) -> None:
    (lora,) = run(home).files["keep"]
    (home / "models/loras").mkdir(exist_ok=True)
    (home / "models/loras/mine.safetensors").write_bytes(lora.read_bytes())
    pictures = [run(home).files["save"][0]]
    document = json.loads(TRAINING.read_text("utf-8"))
    loader = {"model": ["checkpoint", 0], "lora_name": "mine.safetensors", "strength_model": 0.8}
    document["strength"] = {"class_type": "LoraLoaderModelOnly", "inputs": loader}
    document["sampler"]["inputs"]["steps"] = 2
    document["save"]["inputs"]["filename_prefix"] = "from_file"
    folders = graphexec.Folders.standard([home / "models"], input_dir=home / "input")
    seen: list[events.Event] = []
    plan = graphexec.compile(document, registry=REGISTRY, folders=folders, targets=["save"])
    result = graphexec.run(
        plan, graphexec.Context(output=home / "output", settings={"device": "cpu"}, on_event=seen.append)
    )
    assert result.ok, result.failures
    assert not [event for event in seen if isinstance(event, events.Warned)]
    pictures.append(result.files["save"][0])
    first, second = (load_picture(path)[0] for path in pictures)
    assert torch.equal(first, second)


def test_training_goes_on_from_a_lora(home: Path) -> None:
    (lora,) = run(home).files["keep"]
    (home / "models/loras").mkdir(exist_ok=True)
    (home / "models/loras/before.safetensors").write_bytes(lora.read_bytes())
    result = run(home, {"train.existing_lora": "before.safetensors", "train.steps": 2})
    assert result.ok, result.failures
    assert result.files["keep"][0].name.startswith("my_style_5_steps_")


def test_what_cannot_be_trained_is_said_before_anything_runs(home: Path) -> None:
    with pytest.raises(graphexec.WorkflowError, match="OFT cannot be trained"):
        run(home, {"train.algorithm": "OFT"})
    with pytest.raises(graphexec.WorkflowError, match="input_folders"):
        run(home, {"pictures.folder": "nowhere"})


def test_it_can_be_stopped(home: Path) -> None:
    token = CancelToken()
    done: list[int] = []

    def watch(event: events.Event) -> None:
        if isinstance(event, events.Progressed) and event.node == "train":
            done.append(event.done)
            token.cancel()

    with pytest.raises(Cancelled):
        run(home, {"train.seed": 7}, on_event=watch, cancel=token)
    assert done == [1]
