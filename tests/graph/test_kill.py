"""A kill at any moment leaves cache and outputs sound, and the rerun is bitwise equal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TIMES = 200


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_two_hundred_kills(tmp_path: Path) -> None:
    script = Path(__file__).with_name("kill_runs.py")
    process = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(TIMES), "1"], capture_output=True, text=True, check=True
    )
    report = json.loads(process.stdout)
    assert report["wrong"] == []
    assert report["killed"] > TIMES // 4, "most runs were over before they were killed"
    assert report["partial"] > 0, "no kill fell between two outputs"
