"""Every measurement finds what it measures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"


def test_every_measurement_can_be_imported() -> None:
    names = ", ".join(sorted(path.stem for path in BENCH.glob("*.py") if not path.stem.startswith("test_")))
    done = subprocess.run(
        [sys.executable, "-c", f"import {names}"], cwd=BENCH, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
