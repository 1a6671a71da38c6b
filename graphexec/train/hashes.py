"""Hashes of files of weights, which are large and looked at more than once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from graphexec.diffusion.sources import WeightsFile
from graphexec.train.data.cache import file_hash

__all__ = ["weights_hash"]


def weights_hash(path: Path) -> str:
    """SHA-256 of a file, which is read once for as long as it is unchanged. Raises `GraphexecError` if it cannot be."""
    return _hash_of(WeightsFile.of(path))


@lru_cache(maxsize=16)
def _hash_of(file: WeightsFile) -> str:
    return file_hash(file.path)
