"""Workflows over full-size checkpoints of random weights, against what ComfyUI 0.3.64 made of them on a CPU."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from parity.agreement import Agreement, Place
from parity.making import DATA, make
from safetensors.torch import load_file
from torch import Tensor

import graphexec
from graphexec.diffusion.types import Conditioning, Latent

CASES = sorted(path.stem for path in (DATA / "ksampler").glob("*.json"))
TOLERANCE = 1e-4
GROUPS = {"": "VAE, pictures", "samples": "KSampler", "noise_mask": "masks"}
"""What a recorded part belongs to; the others are of conditioning."""

MODELS = {"ckpt_name", "lora_name", "control_net_name"}


@pytest.fixture(scope="module")
def context(place: Place) -> graphexec.Context:
    """One context for each place, so that a checkpoint is read once there."""
    return graphexec.Context(settings={"device": place.device, "precision": place.precision})


@pytest.mark.parity
@pytest.mark.parametrize("case", CASES)
def test_workflow(case: str, full_size: Path, context: graphexec.Context, agrees: Agreement) -> None:
    workflow: dict[str, Any] = json.loads((DATA / "ksampler" / f"{case}.json").read_text("utf-8"))
    recorded = load_file(DATA / "ksampler" / f"{case}.safetensors")
    for node in workflow.values():
        for name in MODELS & node["inputs"].keys():
            make(full_size, node["inputs"][name].removesuffix(".safetensors"))
    targets = sorted({key.split(":")[0] for key in recorded})
    folders = graphexec.Folders.from_roots(full_size, DATA)
    plan = graphexec.compile(workflow, folders=folders, targets=targets)
    result = graphexec.run(plan, context)
    assert not result.failures
    for key, theirs in recorded.items():
        node, slot, part = _place(key)
        group = GROUPS.get(part or "", "CLIP")
        agrees(group, _part(result.value(node, slot), part), theirs, TOLERANCE)


def _place(key: str) -> tuple[str, int, str | None]:
    node, _, rest = key.partition(":")
    slot, _, part = rest.partition("/")
    return node, int(slot), part or None


def _part(value: Any, part: str | None) -> Tensor:
    """The tensor of a value that the recording names."""
    if isinstance(value, Latent):
        tensor = getattr(value, part or "samples")
        assert isinstance(tensor, Tensor)
        return tensor
    if isinstance(value, Conditioning):
        cond = value.conds[0]
        pooled = cond.pooled if cond.pooled is not None else cond.embedding
        return pooled if part == "cond0.pooled_output" else cond.embedding[:, :, :64]
    return value
