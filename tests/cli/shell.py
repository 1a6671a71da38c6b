"""Runs commands over fake nodes, in this process or in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

    @contextmanager
    def start(self, *arguments: str, stdout: int = subprocess.PIPE) -> Generator[subprocess.Popen[str]]:
        """A command in a process of its own, which ends with the block."""
        with subprocess.Popen(
            [sys.executable, "-c", "from cli.pack import main; main()", *arguments],
            env=environment(),
            text=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def environment() -> dict[str, str]:
    """The environment of a process that can import the helpers of the tests."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"}


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a command imports in a process of its own."""
    code = (
        "import sys\n"
        "from graphexec.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print('modules', *sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, encoding="utf-8", check=True)
    return set(done.stderr.splitlines()[-1].split())
