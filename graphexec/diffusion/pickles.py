"""Checkpoints that PyTorch pickled, read without running what is in them."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from graphexec.errors import ModelFileError
from graphexec.lora.header import Shapes

__all__ = ["PickledFile", "is_pickled", "read_pickled"]

FAULTS = (
    *(pickle.UnpicklingError, struct.error, RuntimeError, EOFError, LookupError, ValueError, TypeError),
    *(AttributeError, ArithmeticError, AssertionError, MemoryError, OSError),
)
"""What torch raises on files that are damaged, or hold more than tensors."""


def is_pickled(path: Path) -> bool:
    """Whether a file begins as PyTorch's do; `ModelFileError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4).startswith((b"PK\x03\x04", b"\x80"))
    except OSError as error:
        raise ModelFileError(f"{path}: the file cannot be read ({error.strerror or error})") from error


def read_pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickled checkpoint by name, mapped where the file allows it.

    Only tensors and plain containers are made (`torch.load(weights_only=True)`); `ModelFileError` for anything else.
    """
    try:
        whole: Any = _load(path)
    except FAULTS as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelFileError(f"{path}: this is no checkpoint of tensors alone, or it is damaged ({first})") from error
    tree = whole.get("state_dict", whole) if isinstance(whole, Mapping) else None
    if not isinstance(tree, Mapping):
        raise ModelFileError(f"{path}: the file holds no tensors by name")
    entries = cast("Mapping[Any, Any]", tree).items()
    tensors = {str(name): value for name, value in entries if isinstance(value, Tensor)}
    if not tensors:
        raise ModelFileError(f"{path}: the file holds no tensors by name")
    return tensors


class PickledFile:
    """A pickled checkpoint, read as `MappedFile` reads safetensors."""

    def __init__(self, path: Path) -> None:
        self._tensors = read_pickled(path)
        self.shapes: Shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def tensor(self, name: str) -> Tensor:
        """A tensor that may lie in the file itself, not to be changed."""
        return self._tensors[name]

    def numbers(self, name: str) -> list[float]:
        """The numbers of one small tensor."""
        return [float(value) for value in self._tensors[name].flatten().tolist()]

    def expect(self, name: str) -> None:
        """The system finds out by itself what is needed."""

    def forget(self, name: str) -> None:
        """The memory goes with the file."""


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    # Files of before PyTorch 1.6 are no archives and cannot be mapped.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of old protocols before it reads or refuses them
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
