"""The two files of this folder that are too long to be kept: made from the sound one, b52."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BASE = Path(__file__).with_name("b52_base_ok.json")


def deep_chain(nodes: int = 5000) -> bytes:
    """b32: a sound workflow with a chain of LoRA loaders, `nodes` nodes in all."""
    workflow: dict[str, Any] = json.loads(BASE.read_bytes())
    last = "2"
    for i in range(nodes - len(workflow)):
        inputs: dict[str, Any] = dict(workflow["2"]["inputs"], model=[last, 0], clip=[last, 1])
        last = f"L{i}"
        workflow[last] = {"class_type": "LoraLoader", "inputs": inputs}
    for node in ("3", "4"):
        workflow[node]["inputs"]["clip"] = [last, 1]
    workflow["6"]["inputs"]["model"] = [last, 0]
    return json.dumps(workflow, indent=1).encode()


def deep_nesting(levels: int = 100_000) -> bytes:
    """b49: the text of node 3 is a list in a list in a list …."""
    workflow: dict[str, Any] = json.loads(BASE.read_bytes())
    text = json.dumps(workflow["3"]["inputs"]["text"])
    whole = json.dumps(workflow, indent=1)
    return whole.replace(text, "[" * levels + "]" * levels, 1).encode()


def read(file: str) -> bytes:
    """The bytes of a file of this folder, by name or, if that is unique, by the start of it."""
    if file.startswith("b32"):
        return deep_chain()
    if file.startswith("b49"):
        return deep_nesting()
    (path,) = BASE.parent.glob(f"{file}*.json")
    return path.read_bytes()
