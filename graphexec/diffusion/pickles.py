"""Checkpoints that PyTorch pickled, read without running what is in them."""

from __future__ import annotations

import pickle
import re
import struct
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from graphexec.errors import ModelFileError, unreadable
from graphexec.lora.header import Shapes, in_file, need_file

__all__ = ["PickledFile", "is_pickled", "load_pickled", "read_pickled"]

WRAPPERS = ("state_dict", "params_ema", "params-ema", "params", "model", "net")
"""Where programs that train put the tensors, Real-ESRGAN among them; the first that is there counts."""

FAULTS = (
    *(pickle.UnpicklingError, struct.error, RuntimeError, EOFError, LookupError, ValueError, TypeError),
    *(AttributeError, ArithmeticError, AssertionError, MemoryError, OSError),
)
"""What torch raises on files that are damaged, or hold more than tensors."""

REFUSED = re.compile(r"GLOBAL (\S+) (?:was not an allowed|whose module)")
"""How torch says which class or function of a file it does not make or call."""

_loading = threading.Lock()
"""What torch makes is a setting of the process."""


class Inert:
    """Takes the place of what training leaves in a checkpoint beside the tensors: it holds nothing and does nothing."""

    def __new__(cls, *args: object) -> Inert:
        """Whatever it is made with is dropped."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Whatever was kept of it is dropped."""


INERT: list[Any] = [
    type(name, (Inert,), {"__module__": module})
    for module, name in (
        # What PyTorch Lightning knew of the best checkpoint; its numbers are numpy's.
        ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
    )
]
"""What is known to lie in checkpoints, under the names that pickles have for it."""


def is_pickled(path: Path) -> bool:
    """Whether a file begins as PyTorch's do; `ModelFileError` if it cannot be read."""
    with in_file(path):
        try:
            need_file(path)
            with path.open("rb") as file:
                return file.read(4).startswith((b"PK\x03\x04", b"\x80"))
        except OSError as error:
            raise unreadable(error) from error


def read_pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickled checkpoint by name, mapped where the file allows it.

    Only tensors and plain containers are made (`torch.load(weights_only=True)`), and `INERT` in the place of what
    training leaves beside them; `ModelFileError` for anything else.
    """
    tree = _unwrapped(load_pickled(path, INERT))
    if not isinstance(tree, Mapping):
        raise ModelFileError(f"{path}: the file holds no tensors by name")
    entries = cast("Mapping[Any, Any]", tree).items()
    tensors = {str(name): value for name, value in entries if isinstance(value, Tensor)}
    if not tensors:
        raise ModelFileError(f"{path}: the file holds no tensors by name")
    return tensors


def load_pickled(path: Path, allowed: Sequence[Any]) -> Any:
    """What a pickled file holds, mapped where the file allows it; `ModelFileError` if it is damaged or has other kinds.

    Tensors and plain containers are made, and the classes that are `allowed`.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            # By such a name torch expects safetensors, whatever is in the file; one that is open cannot be mapped.
            misnamed = path.name.endswith(".safetensors")
            # Files of before PyTorch 1.6 are no archives and cannot be mapped.
            with _loading, torch.serialization.safe_globals([*allowed]), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns of old protocols before it reads or refuses them
                return torch.load(
                    file if misnamed else path, map_location="cpu", weights_only=True, mmap=zipped and not misnamed
                )
    except FAULTS as error:
        raise ModelFileError(f"{path}: {_fault(error)}") from error


def _unwrapped(whole: Any) -> Any:
    if not isinstance(whole, Mapping):
        return whole
    found = cast("Mapping[Any, Any]", whole)
    return next((found[name] for name in WRAPPERS if isinstance(found.get(name), Mapping)), found)


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


def _fault(error: Exception) -> str:
    """What is wrong with a file, without torch's advice to load it all the same."""
    refused = REFUSED.search(str(error))
    if refused:
        return (
            f"this is no file of tensors alone: it holds {refused[1]!r}, which can run code when it is made;"
            " look for it as a safetensors file"
        )
    told = isinstance(error, pickle.UnpicklingError) or not str(error).strip()
    first = type(error).__name__ if told else str(error).strip().splitlines()[0]
    return f"this is no file of tensors alone, or it is damaged ({first})"
