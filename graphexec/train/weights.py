"""A LoRA to go on from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from graphexec.errors import ModelFileError
from graphexec.train.config import Network
from graphexec.train.faults import TrainingError

__all__ = ["read_weights", "with_dims_of"]

RANKED = (".lora_down.weight", ".hada_w1_b")
"""Tensors whose first side is the rank."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a LoRA's file; `ModelFileError` if it cannot be read."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path}: the LoRA to go on from cannot be read ({error})") from error


def with_dims_of(config: Network, weights: Mapping[str, Tensor]) -> Network:
    """The network with the layers and ranks of a LoRA's file, whatever else was said of them.

    Raises `TrainingError` for kinds of networks that have no ranks to be read.
    """
    ranks = {
        name.removesuffix(end): len(tensor) for name, tensor in weights.items() for end in RANKED if name.endswith(end)
    }
    if not ranks:
        raise TrainingError("dim_from_weights: the file to go on from has no ranks (LoRA and LoHa have); give them")
    named = tuple((f"^{re.escape(name)}$", rank) for name, rank in ranks.items())
    # The convolutions of the file count only where convolutions are trained at all.
    return replace(config, ranks_by_name=(*named, ("", 0)), conv_rank=config.conv_rank or config.rank)
