"""Text encoders of full-size checkpoints of random weights, against numbers recorded from ComfyUI 0.3.64 on a CPU."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from parity.agreement import Agreement, Place
from parity.making import DATA, make
from safetensors.torch import load_file
from torch import Tensor

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.encode import Prompt, encode_prompt
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import Clip, Cond

RECORDED = load_file(DATA / "clip.safetensors")
"""Of each embedding the first ten tokens, 38 and those from 76 on, and 64 channels; pooled outputs whole."""
KNOWN: dict[str, Any] = json.loads((DATA / "clip.json").read_text("utf-8"))
FILES = {path.name: path for path in (DATA.parent / "embeddings").iterdir()}
SKIPS = {"None": None, "-1": -1, "-2": -2, "-3": -3}
TOLERANCE = 1e-5
MISALIGNED = {"sd15": (), "sdxl": ("prompt5|",)}
"""Prompts whose embedding OpenCLIP-G leaves out, where ComfyUI gives the weights to other words than were meant."""


@pytest.fixture(scope="module")
def runtime(place: Place) -> Runtime:
    return Runtime(place.device, precision=place.precision)


def encoded(runtime: Runtime, clip: Clip, prompt: Prompt) -> Cond:
    (cond,) = encode_prompt(runtime, clip, prompt, embeddings=FILES).conds
    return cond


def compare(agrees: Agreement, cond: Cond, name: str) -> None:
    """What is recorded of a cond."""
    if f"{name}/pooled" in RECORDED:
        assert cond.pooled is not None
        agrees("CLIP", cond.pooled, RECORDED[f"{name}/pooled"], TOLERANCE)
    part: Tensor | None = RECORDED.get(f"{name}/embedding")
    if part is not None:
        rows = [*range(10), 38, *range(76, cond.embedding.shape[1])][: part.shape[1]]
        agrees("CLIP", cond.embedding[:, rows, :64], part, TOLERANCE)


def compare_whole(agrees: Agreement, cond: Cond, facts: dict[str, Any]) -> None:
    squares = cond.embedding.double().square().sum()
    agrees("CLIP, sums of squares", squares, torch.tensor(facts["squares"], dtype=torch.float64), TOLERANCE)


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_prompts_and_layers(runtime: Runtime, full_size: Path, agrees: Agreement, kind: str) -> None:
    clip, known = open_checkpoint(make(full_size, f"ref_{kind}"))[1], KNOWN[kind]
    names = sorted(key.removesuffix("/cond0") for key in known["stats"] if key.startswith("prompt") and "@" not in key)
    assert len(names) > 10
    for name in names:
        number, skip = name.removeprefix("prompt").split("|skip")
        cond = encoded(runtime, replace(clip, last_layer=SKIPS[skip]), known["prompts"][int(number)])
        facts = known["stats"][f"{name}/cond0"]
        assert list(cond.embedding.shape) == facts["shape"]
        if not name.startswith(MISALIGNED[kind]):
            compare(agrees, cond, f"{kind}/{name}")
            compare_whole(agrees, cond, facts)


@pytest.mark.parity
def test_two_texts_of_unequal_length(runtime: Runtime, full_size: Path, agrees: Agreement) -> None:
    clip = open_checkpoint(make(full_size, "ref_sdxl"))[1]
    prompts = KNOWN["sdxl"]["prompts"]
    cond = encoded(runtime, clip, {"clip_g": prompts[1], "clip_l": prompts[4]})
    compare(agrees, cond, "sdxl/CLIPTextEncodeSDXL(g short,l long)")


@pytest.mark.parity
def test_a_lora_on_both_encoders(runtime: Runtime, full_size: Path, agrees: Agreement) -> None:
    clip = open_checkpoint(make(full_size, "ref_sdxl"))[1].patched(make(full_size, "ref_sdxl_kohya"), 0.8)
    cond = encoded(runtime, clip, KNOWN["sdxl"]["prompts"][1])
    compare(agrees, cond, "sdxl/prompt1|sdxl_kohya@.8")
    compare_whole(agrees, cond, KNOWN["sdxl"]["stats"]["prompt1|sdxl_kohya@.8/cond0"])
