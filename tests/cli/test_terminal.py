"""Standard error may be a terminal, something else, or closed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from running import Nodes

from cli.shell import Shell, environment
from graphexec.cli.terminal import is_watched


@pytest.mark.parametrize("answer", [True, False])
def test_a_terminal_is_watched(answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: answer)
    assert is_watched() is answer


def test_nobody_watches_what_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert not is_watched()


def test_a_run_whose_standard_error_is_closed_is_a_run_all_the_same(shell: Shell) -> None:
    shell.write({"4": ("Write", {"text": "hello", "filename_prefix": "note"})})
    command = "exec \"$0\" -c 'from cli.pack import main; main()' run workflow.json 2>&-"
    done = subprocess.run(["sh", "-c", command, sys.executable], env=environment(), stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0
    assert done.stdout.decode() == f"{shell.folder / 'output' / 'note_00001_.txt'}\n"


CHAT: Nodes = {"1": ("Chat", {"text": "cats"}), "2": ("Write", {"text": ["1", 0], "filename_prefix": "note"})}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["run"], ["looking at cats", "chatting about cats"]),
        (["run", "--json"], ["looking at cats", "chatting about cats"]),
        (["run", "--events", "json"], ["looking at cats", "chatting about cats"]),
        (["plan", "--json"], ["looking at cats"]),
        (["graph"], ["looking at cats"]),
        (["validate", "--format", "json"], ["looking at cats"]),
    ],
    ids=" ".join,
)
def test_what_nodes_print_is_not_among_what_a_command_says(shell: Shell, command: list[str], said: list[str]) -> None:
    result = shell.run(command[0], shell.write(CHAT), *command[1:])
    assert result.exit_code == 0, result.output
    assert not [line for line in said if line in result.stdout]
    assert [line for line in result.stderr.splitlines() if "cats" in line] == said
