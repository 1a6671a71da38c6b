"""A LoRA file to go on from: its kind, the steps that it was trained for, and what is not for the UNet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from graphexec.lora.header import Header, read_header
from graphexec.train.config import Network, NetworkKind
from graphexec.train.faults import TrainingError

__all__ = ["Existing", "read_existing"]

TEXT = re.compile(r"(lora_te\d?_|lycoris_te\d?_|text_encoder(_2)?\.)")
_STEPS = re.compile(r"(\d+)_steps(?:_|$)")
_KINDS: Mapping[str, NetworkKind] = {"hada_w1_a": "loha", "lokr_w1": "lokr", "lokr_w1_a": "lokr"}


@dataclass(frozen=True, slots=True, eq=False)
class Existing:
    """What is known of the file: `rest` (of text encoders) is kept as it is."""

    path: Path
    kind: NetworkKind
    decompose: bool
    rest: Mapping[str, Tensor]
    steps: int

    def network(self, config: Network) -> Network:
        """A configuration with the kind and the ranks of the file, whatever was asked for."""
        return replace(config, kind=self.kind, decompose=self.decompose, weights=self.path, dim_from_weights=True)


def read_existing(path: Path) -> Existing:
    """Read what a LoRA is. The steps are those of its metadata, or of a name like ComfyUI's (`lora_100_steps_00001_`).

    Raises `ModelFileError` for a damaged file, `TrainingError` for one of several kinds.
    """
    header = read_header(path)
    with safe_open(path, framework="pt") as file:
        rest = {name: file.get_tensor(name) for name in header.tensors if TEXT.match(name)}
    parts = {name.rpartition(".")[2] for name in header.tensors}
    kinds: set[NetworkKind] = {_KINDS[part] for part in parts & _KINDS.keys()} or {"lora"}
    if len(kinds) > 1:
        raise TrainingError(f"{path}: it holds {' and '.join(sorted(kinds))}; a LoRA of one kind can be gone on from")
    return Existing(path, kinds.pop(), "dora_scale" in parts, rest, _steps(header, path.stem))


def _steps(header: Header, stem: str) -> int:
    told, named = header.metadata.get("ss_steps", ""), _STEPS.search(stem)
    return int(told) if told.isdecimal() else int(named[1]) if named else 0
