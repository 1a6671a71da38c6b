"""The tables of docs/training.md are those of the code."""

from __future__ import annotations

import subprocess
import sys

from docs.pages import ROOT


def test_the_tables_are_up_to_date() -> None:
    subprocess.run([sys.executable, "scripts/training_docs", "--check"], cwd=ROOT, check=True)
