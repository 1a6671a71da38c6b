"""Nodes on latents: as recorded from ComfyUI, and through a file and back."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from parity.agreement import Agreement
from recorded import DATA, REGISTRY, Ran, Recording
from safetensors import safe_open

import graphexec
from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.latents.arithmetic import blend
from graphexec.diffusion.types import Latent

GROUPS = ("composite_latent", "latent_batch", "latent_math", "latent_ops", "latent_upscale")
RECORDED = {group: Recording(group) for group in GROUPS}
TOLERANCE = {"latent_ops": 1e-6}
"""Sharpening is a convolution, which rounds as its library likes; everything else is exact."""

TENSORS = [(group, key) for group in GROUPS for key in RECORDED[group].tensors]
OTHERS = [(group, key) for group in GROUPS for key in RECORDED[group].others]
LATENTS = [(group, key.partition("/")[0]) for group, key in TENSORS if key.endswith("/samples")]


@pytest.fixture(scope="module")
def ran() -> dict[str, Ran]:
    return {group: recording.run() for group, recording in RECORDED.items()}


@pytest.mark.parity
@pytest.mark.parametrize(("group", "key"), TENSORS)
def test_recorded_tensors(group: str, key: str, ran: dict[str, Ran], agrees: Agreement) -> None:
    ran[group].compare(key, agrees, TOLERANCE.get(group, 0.0))


@pytest.mark.parametrize(("group", "key"), OTHERS)
def test_recorded_batch_indices(group: str, key: str, ran: dict[str, Ran]) -> None:
    ran[group].compare_other(key)


@pytest.mark.parametrize(("group", "place"), LATENTS)
def test_masks_and_indices_are_there_where_they_were_recorded(group: str, place: str, ran: dict[str, Ran]) -> None:
    ran[group].compare_latent(place)


@pytest.mark.parametrize(("batches", "longer"), [((1, 3), 3), ((3, 1), 3), ((2, 2), 2), ((2, 3), None)])
def test_what_is_known_of_a_blend(batches: tuple[int, int], longer: int | None) -> None:
    empty = {"width": 64, "height": 64}
    document = {
        "one": {"class_type": "EmptyLatentImage", "inputs": {**empty, "batch_size": batches[0]}},
        "two": {"class_type": "EmptyLatentImage", "inputs": {**empty, "width": 32, "batch_size": batches[1]}},
        "blend": {
            "class_type": "LatentBlend",
            "inputs": {"samples1": ["one", 0], "samples2": ["two", 0], "blend_factor": 0.5},
        },
    }
    if longer is None:
        first, second = (Latent(torch.zeros(length, 4, 8, 8)) for length in batches)
        with pytest.raises(LatentError) as told:
            blend(first, second, 0.5)
        with pytest.raises(graphexec.WorkflowError, match=str(told.value)):
            graphexec.compile(document, registry=REGISTRY, targets=["blend"])
    else:
        plan = graphexec.compile(document, registry=REGISTRY, targets=["blend"])
        assert plan.nodes["blend"].facts[0]["latent"] == (8, 8, longer)


def test_latents_are_saved_and_loaded(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    shutil.copy(DATA / "input" / "n_b1x8x8.latent", tmp_path / "input")
    document = {
        "load": {"class_type": "LoadLatent", "inputs": {"latent": "n_b1x8x8.latent"}},
        "save": {"class_type": "SaveLatent", "inputs": {"samples": ["load", 0], "filename_prefix": "deep/x"}},
    }
    plan = graphexec.compile(document, registry=REGISTRY, folders=graphexec.Folders.from_roots(tmp_path))
    result = graphexec.run(plan, graphexec.Context(output=tmp_path / "output"))
    (path,) = result.files["save"]
    assert path == tmp_path / "output/deep/x_00001_.latent"
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["prompt"]) == document
        assert set(file.keys()) == {"latent_tensor", "latent_format_version_0"}
    shutil.copy(path, tmp_path / "input" / "n_b1x8x8.latent")
    again = graphexec.run(plan, graphexec.Context(output=tmp_path / "output"))
    assert not again.failures
    assert (tmp_path / "output/deep/x_00002_.latent").read_bytes() == path.read_bytes()
