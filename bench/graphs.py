"""Workflows to measure with, of any size."""

from __future__ import annotations

import json
import operator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

ROOT = Path(__file__).parents[1]
BASE = ROOT / "tests" / "data" / "broken" / "b52_base_ok.json"


def chain(nodes: int) -> Json:
    """Each node is linked to the one before it; the last one is the target."""
    workflow: Json = {"0": {"class_type": "Number", "inputs": {"value": 0}}}
    for place in range(1, nodes):
        workflow[str(place)] = {"class_type": "Successor", "inputs": {"value": [str(place - 1), 0]}}
    return workflow


def halves(nodes: int) -> Json:
    """Each node is linked to the one before it and to the one half as far; the last one is the target."""
    workflow: Json = {"0": {"class_type": "Number", "inputs": {"value": 0}}}
    for place in range(1, nodes):
        inputs = {"a": [str(place - 1), 0], "b": [str(place // 2), 0]}
        workflow[str(place)] = {"class_type": "Sum", "inputs": inputs}
    return workflow


def dask_chain(nodes: int) -> Json:
    """`chain` as dask writes it."""
    return {"0": 0, **{str(place): (operator.add, str(place - 1), 1) for place in range(1, nodes)}}


def dask_halves(nodes: int) -> Json:
    """`halves` as dask writes it."""
    return {"0": 0, **{str(place): (operator.add, str(place - 1), str(place // 2)) for place in range(1, nodes)}}


def lora_chain(nodes: int) -> Json:
    """A sound workflow of LoRA loaders in a row, each with two links and three values, below one sampler."""
    workflow: Json = json.loads(BASE.read_bytes())
    workflow["1"]["inputs"]["ckpt_name"] = "graphexec-tiny.safetensors"
    workflow["2"]["inputs"]["lora_name"] = "graphexec-tiny/style-duotone.safetensors"
    last = "2"
    for place in range(nodes - len(workflow)):
        inputs: Json = dict(workflow["2"]["inputs"], model=[last, 0], clip=[last, 1])
        last = f"L{place}"
        workflow[last] = {"class_type": "LoraLoader", "inputs": inputs}
    for text in ("3", "4"):
        workflow[text]["inputs"]["clip"] = [last, 1]
    workflow["6"]["inputs"]["model"] = [last, 0]
    return workflow
