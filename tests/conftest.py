"""What every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import Bench

from graphexec.graph.cache import MemoryCache


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A run without a cache."""
    return Bench(tmp_path / "output")


@pytest.fixture
def cached_bench(tmp_path: Path) -> Bench:
    """Runs that share a memory cache."""
    return Bench(tmp_path / "output", MemoryCache(2**20))
