"""The workflows that come with the project run, and their second run does what a second run should."""
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
from diffusion.tiny import UNetSize, write_checkpoint
from diffusion.tiny_control import controlnet_weights
from PIL import Image
from safetensors.torch import save_file

import graphexec
from graphexec.diffusion.imaging.pixels import load_picture
from graphexec.graph import events
from graphexec.graph.context import Resources

ROOT = Path(__file__).parents[2]
TRAINING = ROOT / "workflows/train_lora.json"
WORKFLOWS = sorted(set((ROOT / "workflows").glob("*.json")) - {TRAINING})
STEPS = 2
LARGEST = 128
"""The side of the small model's pictures: full-size models' examples are tested at it too."""
SIDES = {"width", "height", "target_width", "target_height", "left", "right", "top", "bottom"}
OF_OWN_MODELS = {"controlnet": (512, 512), "sdxl": (1024, 1024)}
"""Examples for models that do not come with the package, and the size that their family draws at."""
LORA = ROOT / "workflows/lora.json"


class Home:
    """A cache and an output folder, as one user has them; each run is like one of a new process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = graphexec.Registry.standard()
        self.settings = {"device": "cpu"}
        models = folder / "models"
        self.folders = graphexec.Folders.standard([models] if models.exists() else [])
        self.resources = Resources()  # loading the model again for each run would only cost time

    def run(self, workflow: Mapping[str, Any]) -> graphexec.Result:
        cache = graphexec.DiskStore(self.folder / "cache", self.registry.codecs)
        self.events: list[events.Event] = []
        context = graphexec.Context(
            cache=graphexec.TieredCache(None, cache),
            digests=graphexec.FileDigests(self.folder / "cache"),
            output=self.folder / "output",
            settings=self.settings,
            resources=self.resources,
            on_event=self.events.append,
        )
        return graphexec.run(graphexec.compile(workflow, registry=self.registry, folders=self.folders), context)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("home")
    for kind in ("checkpoints", "controlnet"):
        (folder / "models" / kind).mkdir(parents=True)
    write_checkpoint(folder / "models/checkpoints/sd15.safetensors")
    write_checkpoint(folder / "models/checkpoints/sdxl.safetensors", family="sdxl")
    save_file(controlnet_weights(UNetSize()), folder / "models/controlnet/canny.safetensors")
    return Home(folder)


def short(path: Path, **changes: Any) -> dict[str, Any]:
    """A workflow with few steps and a small picture, and other values: `sampler__seed=3`."""
    document = json.loads(path.read_text())
    smaller = max(1, *(side // LARGEST for side in size_of(document)))
    for node in document.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = STEPS
        for name in SIDES & node["inputs"].keys():
            node["inputs"][name] //= smaller
    for place, value in changes.items():
        node, _, name = place.partition("__")
        document[node]["inputs"][name] = value
    return document


def size_of(document: Mapping[str, Any]) -> tuple[int, int]:
    """The width and height that a workflow asks for."""
    (inputs,) = (node["inputs"] for node in document.values() if node["class_type"] == "EmptyLatentImage")
    return inputs["width"], inputs["height"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_makes_a_picture(home: Home, path: Path) -> None:
    document = short(path)
    result = home.run(document)
    assert result.ok
    (files,) = result.files.values()
    with Image.open(files[0]) as picture:
        assert picture.size == size_of(document)
        assert json.loads(picture.info["prompt"]) == document
        assert len(picture.convert("RGB").getcolors(picture.width * picture.height) or ()) > 100, "the picture is empty"


def test_examples_for_other_models_are_told_and_ask_for_the_size_of_their_family() -> None:
    shipped = graphexec.Folders.from_roots(ROOT / "graphexec/models")
    readme = (ROOT / "README.md").read_text("utf-8")
    for path in WORKFLOWS:
        found = graphexec.check(path, folders=shipped).diagnostics
        missing = [each for each in found if each.missing_file]
        assert [each.received for each in missing if str(each.received).strip("'") not in readme] == []
        assert bool(missing) == (path.stem in OF_OWN_MODELS)
        assert size_of(json.loads(path.read_text())) == OF_OWN_MODELS.get(path.stem, (LARGEST, LARGEST))


def test_a_saved_picture_is_its_workflow(home: Home) -> None:
    first = home.run(short(LORA))
    (files,) = first.files.values()
    again = graphexec.compile(files[0], registry=home.registry)
    assert again.workflow.prompt == short(LORA)


def test_an_unchanged_workflow_names_its_files(home: Home) -> None:
    first, second = home.run(short(LORA)), home.run(short(LORA))
    assert second.executed == ()
    assert second.files == first.files


def test_files_that_are_gone_are_written_again(home: Home) -> None:
    (files,) = home.run(short(LORA)).files.values()
    before = files[0].read_bytes()
    files[0].unlink()
    second = home.run(short(LORA))
    assert second.executed == ()
    assert next(iter(second.files.values()))[0].read_bytes() == before


def test_another_prefix_does_not_sample_again(home: Home) -> None:
    path = LORA
    home.run(short(path))
    assert home.run(short(path, save__filename_prefix="other")).executed == ("save",)


def test_another_prompt_keeps_what_does_not_need_it(home: Home) -> None:
    path = LORA
    home.run(short(path))
    result = home.run(short(path, positive__text="a dog"))
    assert set(result.executed) == {"positive", "sampler", "decode", "save"}


def test_one_strength_of_a_stack_keeps_everything_above_it(home: Home) -> None:
    path = ROOT / "workflows" / "lora_stack.json"
    home.run(short(path))
    result = home.run(short(path, lora_2_detail__strength_model=0.9))
    assert {"1", "lora_1_style", "4"} <= set(result.cached)
    assert "lora_1_style" not in result.executed


def test_strengths_change_the_picture_and_a_seed_repeats_it(home: Home, tmp_path: Path) -> None:
    path = LORA

    def picture(home: Home, **changes: Any) -> bytes:
        (files,) = home.run(short(path, **changes)).files.values()
        with Image.open(files[0]) as opened:
            return opened.tobytes()

    weak = picture(home, lora__strength_model=0.1)
    strong = picture(home, lora__strength_model=1.0)
    assert weak != strong
    assert picture(Home(tmp_path), lora__strength_model=0.1) == weak


def test_a_rerun_imports_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "short.json"
    path.write_text(json.dumps(short(LORA)))
    script = (
        "import sys, runpy\n"
        f"sys.argv = ['graphexec', 'run', {str(path)!r}, '--quiet', '--device', 'cpu', '--cache-dir',"
        f" {str(tmp_path / 'cache')!r}, '--output', {str(tmp_path / 'output')!r}]\n"
        "try:\n    runpy.run_module('graphexec', run_name='__main__')\n"
        "except SystemExit as exit: assert not exit.code, exit.code\n"
        "print('torch' in sys.modules)\n"
    )
    outputs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert [output[-1] for output in outputs] == ["True", "False"]
    assert outputs[0][0] == outputs[1][0]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
def test_a_gpu_makes_the_same_picture(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path)
    other.settings = {"device": "cuda"}
    pictures: list[torch.Tensor] = []
    for place in (home, other):
        (files,) = place.run(short(LORA)).files.values()
        pictures.append(load_picture(files[0])[0])
    assert (pictures[0] - pictures[1]).abs().mean() < 0.02
