"""The measurement of a GPU runs on a CPU too, on small networks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"
MEASURED = (
    "SD 1.5",
    "SDXL from the page cache",
    "SDXL 64²",
    "VAE decode",
    "3 steps",
    "memory at most",
    "LoRA strength",
)


def test_every_bar_has_a_row(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH / "gpu.py"), str(tmp_path), "--tiny", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    rows = done.stdout.split("|---|---|---|---|\n")[1].splitlines()
    assert len(rows) == len(MEASURED)
    for row, what in zip(rows, MEASURED, strict=True):
        assert row.startswith(f"| {what}")
        assert "at most" in row.split("|")[3]
