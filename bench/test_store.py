"""What it takes to get a value of 64 KB from the disk cache: found, read, its checksum verified, decoded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import graphexec

SIZE = 2**16
KEY = bytes(range(32))


def make(kind: str) -> Any:
    return os.urandom(SIZE) if kind == "bytes" else torch.rand(1, 4, 64, SIZE // (4 * 4 * 64))


@pytest.mark.parametrize("kind", ["bytes", "tensor"])
def test_disk_hit(benchmark: BenchmarkFixture, kind: str, tmp_path: Path) -> None:
    """Bytes, or a tensor by its codec."""
    store = graphexec.DiskStore(tmp_path / "cache", graphexec.Registry.standard().codecs)
    value = ([make(kind)],)
    store.put(KEY, value)
    benchmark(store.get, KEY)
    ((found,),) = store.get(KEY) or ((None,),)
    assert found is not None and (found == value[0][0] if kind == "bytes" else torch.equal(found, value[0][0]))
