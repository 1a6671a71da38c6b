"""How the tests of commands run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.pack import registry
from graphexec.cli.main import build_cli

TESTS = Path(__file__).parents[1]


class Shell:
    """A folder to work in, with a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cli = build_cli(registry)

    def run(self, *arguments: str, stdin: str | bytes | None = None) -> Result:
        """A command in this process."""
        return CliRunner().invoke(self.cli, list(arguments), input=stdin)

    def json(self, *arguments: str) -> Any:
        """What a command prints on stdout, which has to be JSON."""
        return json.loads(self.run(*arguments).stdout)

    def write(self, nodes: Mapping[str, tuple[str, Mapping[str, Any]]], name: str = "workflow.json") -> str:
        """Write a workflow of {id: (class, inputs)}; returns the file's name."""
        prompt = {
            key: {"class_type": kind, "inputs": dict(inputs), "_meta": {"title": f"the {kind}"}}
            for key, (kind, inputs) in nodes.items()
        }
        Path(name).write_text(json.dumps(prompt, indent=1), encoding="utf-8")
        return name

    def start(self, *arguments: str, module: str = "cli.pack", **options: Any) -> subprocess.Popen[str]:
        """A command in a process of its own."""
        code = f"from {module} import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=environment(),
            text=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            **options,
        )


def environment() -> dict[str, str]:
    """The environment of a process that can import the helpers of the tests."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """An empty folder, and commands over fake nodes in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHEXEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GRAPHEXEC_MODELS", raising=False)
    return Shell(tmp_path)


