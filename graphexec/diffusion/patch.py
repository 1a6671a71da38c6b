"""LoRAs on a network: which weights a stack of them changes, and the changed weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors import safe_open
from torch import Tensor

from graphexec.diffusion.types import LoraPatch, WeightsFile
from graphexec.errors import ModelFileError
from graphexec.lora.blocks import block_factor
from graphexec.lora.coverage import check_fit, match_modules
from graphexec.lora.formats import LoraModule, list_modules
from graphexec.lora.header import Shapes, in_file, read_header

__all__ = ["Delta", "LoraReader", "deltas_by_weight", "patched_weight"]


@dataclass(frozen=True, slots=True)
class Delta:
    """One LoRA module at a strength, on one weight."""

    file: WeightsFile
    module: LoraModule
    strength: float


def deltas_by_weight(
    patches: Sequence[LoraPatch], aliases: Mapping[str, str], shapes: Shapes
) -> dict[str, tuple[Delta, ...]]:
    """What a stack of LoRAs changes, by weight, in the stack's order; `aliases` give a module's layer.

    Raises `ModelFileError` if a file is gone, has changed, or does not fit `shapes`.
    """
    found: dict[str, list[Delta]] = {}
    matched = {file: _matched(file, aliases, shapes) for file in {patch.file for patch in patches}}
    for patch in patches:
        for weight, modules in matched[patch.file].items():
            strength = patch.strength * block_factor(patch.blocks, weight)
            if strength != 0:
                found.setdefault(weight, []).extend(Delta(patch.file, module, strength) for module in modules)
    return {weight: tuple(deltas) for weight, deltas in found.items()}


def patched_weight(base: Tensor, deltas: Sequence[Delta], read: Callable[[WeightsFile, str], Tensor]) -> Tensor:
    """`base` after all deltas, in float32; `base` itself is not touched. `read` gives a tensor of a LoRA file."""
    weight = base.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    for delta in deltas:
        weight = delta.module.adapter.change(weight, delta.strength, lambda name, file=delta.file: read(file, name))
    return weight


class LoraReader:
    """Tensors of LoRA files by name, each file opened once."""

    def __init__(self) -> None:
        self._open: dict[WeightsFile, safe_open] = {}

    def __call__(self, file: WeightsFile, name: str) -> Tensor:
        if file not in self._open:
            self._open[file] = safe_open(file.path, framework="pt")
        tensor = self._open[file].get_tensor(name)
        if not tensor.isfinite().all():
            raise ModelFileError(
                f"{file.path}: the tensor {name!r} of the LoRA holds NaN or infinity; the file is damaged"
            )
        return tensor


def _matched(file: WeightsFile, aliases: Mapping[str, str], shapes: Shapes) -> Mapping[str, tuple[LoraModule, ...]]:
    if not file.is_current():
        raise ModelFileError(
            f"{file.path}: the LoRA was changed or removed after it was opened; run the workflow again"
        )
    header = read_header(file.path)
    with in_file(file.path):
        match = match_modules(list_modules(header).modules, shapes, aliases)
        check_fit(match)
        return match.found
