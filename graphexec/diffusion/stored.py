"""Files of weights opened for reading: their tensors by name, mapped rather than read."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from graphexec.diffusion.beside import is_index, read_index
from graphexec.diffusion.listing import PICKLE_SUFFIXES, list_file
from graphexec.diffusion.pickles import PickledFile, is_pickled
from graphexec.errors import ModelFileError
from graphexec.lora.header import Shapes, data_start, read_header

__all__ = ["DTYPES", "MappedFile", "ShardedFile", "open_weights"]

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""What safetensors calls torch's dtypes."""


class MappedFile:
    """The tensors of a safetensors file, mapped: the system reads a page of it when that is first looked at."""

    def __init__(self, path: Path) -> None:
        header = read_header(path)
        self.path = path
        self.shapes: Shapes = header.shapes
        self._infos = header.tensors
        try:
            with path.open("rb") as file:
                self._start = data_start(file)
                # A private mapping: torch wants memory that it could write to, and the file stays as it is.
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise ModelFileError(f"{path}: the file cannot be mapped ({error})") from error

    def tensor(self, name: str) -> Tensor:
        """A tensor that lies in the file itself, not to be changed."""
        info = self._infos[name]
        if info.dtype not in DTYPES:
            raise ModelFileError(f"{self.path}: {name!r} is stored as {info.dtype}, which cannot be read")
        dtype = DTYPES[info.dtype]
        if info.start == info.end:
            return torch.empty(info.shape, dtype=dtype)
        flat = torch.frombuffer(
            self._map, dtype=dtype, offset=self._start + info.start, count=(info.end - info.start) // dtype.itemsize
        )
        return flat.view(info.shape)

    def expect(self, name: str) -> None:
        """Let the system begin to read a tensor that is needed soon."""
        self._advise(name, "MADV_WILLNEED")

    def forget(self, name: str) -> None:
        """Give back the memory of a tensor's pages, which are read again if it is needed again."""
        self._advise(name, "MADV_DONTNEED")

    def _advise(self, name: str, advice: str) -> None:
        info = self._infos[name]
        if hasattr(mmap, advice) and info.end > info.start:  # not on Windows
            start = (self._start + info.start) // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(getattr(mmap, advice), start, self._start + info.end - start)


class ShardedFile:
    """The tensors of all parts of an index, read as `MappedFile` reads those of one file."""

    def __init__(self, index: Path) -> None:
        self.shapes: Shapes = list_file(index).shapes
        places = read_index(index)
        parts = {part: MappedFile(part) for part in dict.fromkeys(places.values())}
        self._files = {name: parts[part] for name, part in places.items()}

    def tensor(self, name: str) -> Tensor:
        """A tensor that lies in a file itself, not to be changed."""
        return self._files[name].tensor(name)

    def expect(self, name: str) -> None:
        """Let the system begin to read a tensor that is needed soon."""
        self._files[name].expect(name)

    def forget(self, name: str) -> None:
        """Give back the memory of a tensor's pages, which are read again if it is needed again."""
        self._files[name].forget(name)


def open_weights(path: Path) -> MappedFile | ShardedFile | PickledFile:
    """The tensors of a recipe's file, or of those that an index lists."""
    # Whoever made the recipe allowed it: a pickled file opens only when asked to.
    if path.suffix.lower() in PICKLE_SUFFIXES and is_pickled(path):
        return PickledFile(path)
    return ShardedFile(path) if is_index(path) else MappedFile(path)
