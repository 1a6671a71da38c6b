"""Checkpoints converted: pickled ones to safetensors, and from one precision to another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from graphexec.diffusion.pickles import PickledFile, is_pickled
from graphexec.diffusion.precisions import DTYPES
from graphexec.diffusion.save import NAMES, Saved, whole_text, widest_first
from graphexec.diffusion.stored import DTYPES as STORED
from graphexec.diffusion.stored import MappedFile
from graphexec.errors import ModelFileError
from graphexec.lora.header import Header, read_header

__all__ = ["converted_tensors"]

HASHES = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
"""Metadata of LoRAs that are hashes of their weights, as sd-scripts writes them."""


def converted_tensors(source: Path, precision: str | None = None) -> tuple[list[Saved], dict[str, str]]:
    """The tensors of a file of weights, to be written as safetensors, and the metadata to go with them.

    Floating-point tensors get `precision` (one of `DTYPES`; None leaves them as they are) when their turn comes;
    hashes of weights that are then others are left out of the metadata.
    Raises `ModelFileError` if `source` cannot be read, or holds what safetensors cannot; making a tensor raises it for
    a number that is too large for the precision.
    """
    pickled = is_pickled(source)
    file = PickledFile(source) if pickled else MappedFile(source)
    saved = widest_first(_saved(source, name, file.tensor(name), precision) for name in file.shapes)
    return saved, {"format": "pt", **({} if pickled else _metadata(read_header(source), saved))}


def _metadata(header: Header, saved: Sequence[Saved]) -> dict[str, str]:
    """What the file says of itself, as far as it holds of what is written."""
    stored = sorted(header.tensors.items(), key=lambda item: (item[1].start, item[1].end))
    alike = [(name, STORED[info.dtype]) for name, info in stored] == [(tensor.name, tensor.dtype) for tensor in saved]
    return {name: text for name, text in header.metadata.items() if alike or name not in HASHES}


def _saved(source: Path, name: str, tensor: Tensor, precision: str | None) -> Saved:
    dtype = DTYPES[precision] if precision and tensor.is_floating_point() else tensor.dtype
    if dtype not in NAMES or tensor.layout is not torch.strided or tensor.is_meta:
        what = f"{name!r} ({tensor.dtype}, {tensor.layout}, on {tensor.device})"
        raise ModelFileError(f"{source}: {what} cannot be kept as safetensors; look for the model in that format")
    if name == "__metadata__" or name != whole_text(name):
        raise ModelFileError(f"{source}: no tensor can be called {name!r} in a safetensors file; rename it")
    return Saved(name, dtype, tuple(tensor.shape), lambda: _converted(source, name, tensor.detach(), dtype))


def _converted(source: Path, name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    result = tensor.to(dtype)
    if dtype != tensor.dtype and not torch.isfinite(result).all() and torch.isfinite(tensor.double()).all():
        raise ModelFileError(
            f"{source}: {name!r} has numbers that are too large for this precision; use one of wider range, or"
            " leave it as it is"
        )
    return result
