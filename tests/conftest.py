"""What every test may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from parity.agreement import Agreement
from running import Bench

from graphexec.graph.cache import MemoryCache

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell starts what runs in the background deaf to interrupts; tests that interrupt would wait for ever."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A run without a cache."""
    return Bench(tmp_path / "output")


@pytest.fixture
def cached_bench(tmp_path: Path) -> Bench:
    """Runs that share a memory cache."""
    return Bench(tmp_path / "output", MemoryCache(2**20))


@pytest.fixture(scope="session")
def full_size() -> Path:
    """The models folder with the checkpoints of full size; skips where there is none."""
    folder = os.environ.get("GRAPHEXEC_PARITY")
    if not folder:
        pytest.skip(
            "GRAPHEXEC_PARITY names no models folder for full-size checkpoints (scripts/parity --full makes it)"
        )
    return Path(folder)


@pytest.fixture
def agrees(record_property: Callable[[str, object], None]) -> Agreement:
    """Compares with recorded results."""
    return Agreement(record_property)
