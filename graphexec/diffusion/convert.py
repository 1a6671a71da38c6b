"""Checkpoints converted: pickled ones to safetensors, and from one precision to another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion.pickles import is_pickled, read_pickled
from graphexec.diffusion.stored import MappedFile
from graphexec.errors import ModelFileError
from graphexec.lora.header import read_header

__all__ = ["PRECISIONS", "convert_checkpoint"]

PRECISIONS: Mapping[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def convert_checkpoint(source: Path, target: Path, precision: str | None = None) -> int:
    """Write the tensors of a file of weights as safetensors, and say how many there are.

    Floating-point tensors get `precision` (one of `PRECISIONS`; None leaves them as they are); metadata is kept.
    Raises `ModelFileError` if `source` cannot be read, or a number is too large for the precision.
    """
    if is_pickled(source):
        tensors, metadata = read_pickled(source), dict[str, str]()
    else:
        file = MappedFile(source)
        tensors = {name: file.tensor(name) for name in file.shapes}
        metadata = dict(read_header(source).metadata)
    dtype = PRECISIONS[precision] if precision else None
    seen: set[int] = set()
    converted = {name: _converted(source, name, tensor, dtype, seen) for name, tensor in tensors.items()}
    save_file(converted, target, {"format": "pt", **metadata})
    return len(converted)


def _converted(source: Path, name: str, tensor: Tensor, dtype: torch.dtype | None, seen: set[int]) -> Tensor:
    """A tensor with memory of its own where another has it already, as safetensors wants it."""
    result = tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor
    if result is not tensor and not torch.isfinite(result).all() and torch.isfinite(tensor.float()).all():
        raise ModelFileError(f"{source}: {name!r} has numbers that are too large for this precision; use bf16 or fp32")
    result = result.contiguous()
    storage = result.untyped_storage().data_ptr()
    if storage in seen or result.untyped_storage().nbytes() != result.nbytes:
        result = result.clone()
    seen.add(storage)
    return result
