"""What the tests of commands may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.shell import Shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """An empty folder, and commands over fake nodes in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHEXEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GRAPHEXEC_MODELS", raising=False)
    return Shell(tmp_path)
