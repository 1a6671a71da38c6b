"""Text encoders of full-size checkpoints of random weights, against numbers recorded from ComfyUI 0.3.64 on a CPU.

Runs only where GRAPHEXEC_PARITY names a folder with `ref_sd15.safetensors`, `ref_sdxl.safetensors`, `loras/` and
`reference/` (the recorded numbers).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.encode import Prompt, encode_prompt
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import Clip, Cond

FOLDER = os.environ.get("GRAPHEXEC_PARITY")
if not FOLDER:
    pytest.skip("GRAPHEXEC_PARITY names no folder with the full-size checkpoints", allow_module_level=True)

ROOT = Path(FOLDER)
RECORDED = ROOT / "reference"
FILES = {path.name: path for path in (RECORDED / "embeddings").iterdir()}
SKIPS = {"None": None, "-1": -1, "-2": -2, "-3": -3}
SLICE = "#t0-9,38,76+,c0-63"
TOLERANCE = 1e-5
MISALIGNED = {"sd15": (), "sdxl": ("prompt5|",)}
"""Prompts whose embedding OpenCLIP-G leaves out, where ComfyUI gives the weights to other words than were meant."""


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime("cpu")


def encoded(runtime: Runtime, clip: Clip, prompt: Prompt) -> Cond:
    (cond,) = encode_prompt(runtime, clip, prompt, embeddings=FILES).conds
    return cond


def error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


def worst_error(cond: Cond, recorded: dict[str, Tensor], name: str) -> float:
    """The largest relative error of what is recorded under a name: the embedding, whole or in part, and the pooled."""
    whole, part = recorded.get(f"{name}/cond0"), recorded.get(f"{name}/cond0{SLICE}")
    assert cond.pooled is not None
    found = [error(cond.pooled, recorded[f"{name}/cond0.pooled_output"])]
    if whole is not None:
        found.append(error(cond.embedding, whole))
    if part is not None:
        rows = [*range(10), 38, *range(76, cond.embedding.shape[1])][: part.shape[1]]
        found.append(error(cond.embedding[:, rows, :64], part))
    return max(found)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_prompts_and_layers(runtime: Runtime, kind: str) -> None:
    clip = open_checkpoint(ROOT / f"ref_{kind}.safetensors")[1]
    known: dict[str, Any] = json.loads((RECORDED / f"d_clip_{kind}.json").read_text())
    recorded = {k: v for path in RECORDED.glob(f"d_clip_{kind}_*.safetensors") for k, v in load_file(path).items()}
    names = {name.split("/")[0] for name in (*recorded, *known["stats"]) if "|skip" in name}
    assert len(names) > 10
    errors: dict[str, float] = {}
    for name in sorted(names):
        number, skip = name.removeprefix("prompt").split("|skip")
        cond = encoded(runtime, replace(clip, last_layer=SKIPS[skip]), known["prompts"][int(number)])
        if f"{name}/cond0.pooled_output" in recorded:
            errors[name] = worst_error(cond, recorded, name)
        stats = known["stats"][f"{name}/cond0"]
        assert list(cond.embedding.shape) == stats["shape"]
        if name.startswith(MISALIGNED[kind]):
            continue
        squares = cond.embedding.double().square().sum().item()
        errors[f"{name} squares"] = abs(squares / stats["sq_sum"] - 1)
    assert max(errors.values()) < TOLERANCE


def test_two_texts_of_unequal_length(runtime: Runtime) -> None:
    clip = open_checkpoint(ROOT / "ref_sdxl.safetensors")[1]
    known: dict[str, Any] = json.loads((RECORDED / "d_clip_sdxl.json").read_text())
    recorded = load_file(RECORDED / "d_clip_sdxl_0.safetensors")
    prompt: Prompt = {"clip_g": known["prompts"][1], "clip_l": known["prompts"][4]}
    cond = encoded(runtime, clip, prompt)
    assert worst_error(cond, recorded, "CLIPTextEncodeSDXL(g short,l long)") < TOLERANCE
