"""Tensors that are made once, in memory or in a folder, found again by what they were made of.

Each file is named by the hash of everything that its tensors depend on (the picture's content, its size, the VAE), so
that nothing stale can be found and nothing has to be compared. That is why sd-scripts' `NAME_WxH_sd.npz` is not used:
it lies beside the picture and stays there when picture or VAE change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from graphexec.diffusion.files import write_whole
from graphexec.train.data.faults import DataError

__all__ = ["FileTensors", "MemoryTensors", "TensorStore", "content_key", "file_hash"]


class TensorStore(Protocol):
    """Named tensors by key; a key is a `content_key`."""

    def get(self, key: str) -> Mapping[str, Tensor] | None: ...

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None: ...


class MemoryTensors:
    """For as long as the process lives."""

    def __init__(self) -> None:
        self._known: dict[str, Mapping[str, Tensor]] = {}

    def get(self, key: str) -> Mapping[str, Tensor] | None:
        return self._known.get(key)

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        self._known[key] = dict(tensors)


class FileTensors:
    """A folder of safetensors files, each written whole. A damaged file is as none, and is made again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> Mapping[str, Tensor] | None:
        try:
            return load(self._path(key).read_bytes())
        except (FileNotFoundError, SafetensorError):
            return None
        except OSError as error:
            raise DataError(f"{self._path(key)}: cannot be read ({error.strerror})") from error

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Raises `OutputError` if the file cannot be written."""
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_whole(self._path(key), save(whole), parents=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"


def content_key(*parts: object) -> str:
    """A name for what is made of these parts: 64 hexadecimal digits. Parts count by their `repr`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content; `DataError` names a file that cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
