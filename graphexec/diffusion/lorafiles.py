"""LoRA files opened for their tensors, of which those used lately are kept."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from safetensors.torch import load
from torch import Tensor

from graphexec.diffusion.precisions import is_finite
from graphexec.diffusion.sources import LoraModel, LoraSource
from graphexec.diffusion.stored import MappedFile
from graphexec.errors import ModelFileError

__all__ = ["LoraReader"]

HOST = torch.device("cpu")
KEPT = 128 * 2**20
"""Bytes of tensors that a reader keeps: a LoRA of rank 32 for the whole of SD 1.5, of rank 16 for SDXL."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A LoRA that lies in no file."""

    tensors: dict[str, Tensor]

    def tensor(self, name: str) -> Tensor:
        return self.tensors[name]


@dataclass(slots=True)
class _File:
    """What is known of a file."""

    opened: MappedFile | _Held | None = None
    sound: set[str] = field(default_factory=set[str])
    """Tensors that were found to be finite."""
    tensors: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


class LoraReader:
    """Tensors of LoRA files by name, each looked at for NaN and infinity once.

    Up to `limit` bytes stay in memory, where they were last wanted, until files used later need the room.
    """

    def __init__(self, limit: int = KEPT) -> None:
        self.limit = limit
        self.bytes = 0
        self._files: dict[LoraSource, _File] = {}
        """Those used last come last."""
        self._in_use: set[LoraSource] = set()

    def __call__(self, file: LoraSource, name: str, device: torch.device = HOST) -> Tensor:
        """A tensor in the dtype of its file, not to be changed; `ModelFileError` if it is not finite.

        If it stays in memory it lies on `device` from then on.
        """
        if file not in self._in_use:
            self._in_use.add(file)
            self._files[file] = self._files.pop(file, _File())
        known = self._files[file]
        if name in known.tensors:
            known.tensors[name] = _at(device, known.tensors[name])
            return known.tensors[name]
        tensor = _read(file, name, known)
        if self._has_room(tensor.nbytes):
            known.tensors[name] = _at(device, tensor, copy=True)  # it must not lie in a file that may change
            self.bytes += tensor.nbytes
        return known.tensors.get(name, tensor)

    def close(self) -> None:
        """Let go of the files, until they are read again; their tensors stay, but those of LoRAs that lie in none."""
        for file in self._in_use:
            if isinstance(file, LoraModel):  # it is in memory anyway, as long as a recipe names it
                self.bytes -= self._files.pop(file).bytes
            else:
                self._files[file].opened = None
        self._in_use.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._in_use.clear()
        self._files.clear()
        self.bytes = 0

    def _has_room(self, needed: int) -> bool:
        """Make room for a tensor, at the cost of files that are not in use."""
        for file in [file for file in self._files if file not in self._in_use]:
            if self.bytes + needed <= self.limit:
                break
            self.bytes -= self._files.pop(file).bytes
        return self.bytes + needed <= self.limit


def _at(device: torch.device, tensor: Tensor, *, copy: bool = False) -> Tensor:
    """A tensor on a device; a single number on the host, where it is wanted."""
    return tensor.to(device if tensor.numel() > 1 else HOST, copy=copy)


def _read(file: LoraSource, name: str, known: _File) -> Tensor:
    if known.opened is None:
        held = isinstance(file, LoraModel)
        known.opened = _Held(load(file.content)) if held else MappedFile(file.path)
    tensor = known.opened.tensor(name)
    if name not in known.sound and not is_finite(tensor):
        raise ModelFileError(f"{file.path}: the tensor {name!r} of the LoRA holds NaN or infinity; the file is damaged")
    known.sound.add(name)
    return tensor
