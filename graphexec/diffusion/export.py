"""Values as named tensors in a safetensors file, for other programs.

| type | keys |
|---|---|
| LATENT | `samples`, `noise_mask` and `batch_index` (int64) where it has them |
| IMAGE | `image` |
| MASK | `mask` |
| SIGMAS | `sigmas` |
| CONDITIONING | `cond{i}`, `cond{i}.pooled_output` |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from graphexec.diffusion.files import write_whole
from graphexec.diffusion.types import Conditioning, Latent
from graphexec.errors import OutputError

__all__ = ["export_tensors", "write_export"]


def export_tensors(wire: str, value: Any) -> dict[str, Tensor]:
    """The tensors of a value of the wire type `wire`, by their documented keys; `OutputError` for another type."""
    if wire not in EXPORTS:
        raise OutputError(f"a value of type {wire} cannot be exported; these can: {', '.join(EXPORTS)}")
    return EXPORTS[wire](value)


def write_export(path: Path, wire: str, value: Any) -> None:
    """Write a value as a safetensors file, whole or not at all; `OutputError` if that fails."""
    found = export_tensors(wire, value)
    # Each in memory of its own: safetensors refuses two that share some, as the parts of one prompt may.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in found.items()}
    write_whole(path, save(tensors, {"format": "pt"}))


def _latent(value: Latent) -> dict[str, Tensor]:
    tensors = {"samples": value.samples}
    if value.noise_mask is not None:
        tensors["noise_mask"] = value.noise_mask
    if value.batch_index is not None:
        tensors["batch_index"] = torch.tensor(value.batch_index, dtype=torch.int64)
    return tensors


def _conditioning(value: Conditioning) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for i, cond in enumerate(value.conds):
        tensors[f"cond{i}"] = cond.embedding
        if cond.pooled is not None:
            tensors[f"cond{i}.pooled_output"] = cond.pooled
    return tensors


def _plain(key: str) -> Callable[[Tensor], dict[str, Tensor]]:
    return lambda value: {key: value}


EXPORTS: Mapping[str, Callable[[Any], dict[str, Tensor]]] = {
    "LATENT": _latent,
    "IMAGE": _plain("image"),
    "MASK": _plain("mask"),
    "SIGMAS": _plain("sigmas"),
    "CONDITIONING": _conditioning,
}
