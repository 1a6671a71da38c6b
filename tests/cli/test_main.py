"""The command as a whole: help, what is imported, and how it ends whatever happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.shell import Shell, environment, loaded_by
from graphexec.cli.exits import ExitCode
from graphexec.cli.main import COMMANDS, build_cli, standard_registry
from graphexec.errors import (
    CacheError,
    FolderError,
    MissingFileError,
    ModelFileError,
    ModelPathsError,
    NodeDefinitionError,
)
from graphexec.graph import events
from graphexec.node.registry import Registry

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
CLI = build_cli(standard_registry)


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and the words that call it."""
    context = click.Context(CLI)
    for name in COMMANDS:
        command = CLI.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", each) for sub, each in command.commands.items())


NAMED = dict(all_commands())
each_command = pytest.mark.parametrize(("name", "command"), list(NAMED.items()), ids=list(NAMED))


@each_command
def test_every_command_explains_itself_and_has_an_example(name: str, command: click.Command) -> None:
    result = CliRunner().invoke(CLI, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert command.help
    assert re.search(rf"Examples?:\n +graphexec {name}", result.stdout)
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


@each_command
def test_the_documentation_has_every_command_and_option(name: str, command: click.Command) -> None:
    heading = f"## graphexec {name}" if " " not in name else f"### graphexec {name}"
    assert heading in DOCS
    section = re.split(r"^#+ ", DOCS.split(heading, 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    for option in (text for parameter in command.params for text in parameter.opts if text.startswith("--")):
        assert f"`{option}" in section or f"`{option}" in DOCS.split("## Options of several commands")[1], option


def test_the_documentation_and_the_help_have_every_exit_code() -> None:
    run_help = CliRunner().invoke(CLI, ["run", "--help"]).stdout
    for code in ExitCode:
        assert f"| {code.value} | {code.meaning} |" in DOCS
        assert f"{code.value}  {code.meaning}" in run_help


def test_the_documentation_lists_every_command_in_order() -> None:
    assert re.findall(r"^\| \[`(.+?)`\]\(#graphexec-\1\) \|", DOCS, re.MULTILINE) == list(COMMANDS)


def test_the_documentation_names_every_event() -> None:
    kinds = {kind.__name__.lower() for kind in events.Event.__subclasses__()}
    assert kinds <= set(re.findall(r"`(\w+)`", DOCS.split("each with its kind under `event`")[1].split("exported")[0]))


@each_command
def test_no_help_shows_the_name_of_a_function(name: str, command: click.Command) -> None:
    shown = [parameter.make_metavar(click.Context(command)) for parameter in command.params]
    assert [text for text in shown if "PARSE" in text] == []


def test_help_lists_the_commands_in_order() -> None:
    text = CliRunner().invoke(CLI, ["--help"]).stdout
    assert re.findall(r"^  (\w[\w-]*) {2,}[A-Z]", text, re.MULTILINE) == list(COMMANDS)


def test_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"graphexec, version \d+\.\d+.*\n", CliRunner().invoke(CLI, ["--version"]).stdout)


def test_an_unknown_command_is_wrong_usage() -> None:
    assert CliRunner().invoke(CLI, ["rum"]).exit_code == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ModelFileError("it is damaged"), 2),
        (MissingFileError("it is not there"), 3),
        (FolderError("it is not there"), 3),
        (ModelPathsError("it is no YAML"), 2),
        (CacheError("it is a file"), 1),
        (NodeDefinitionError("it has no types"), 1),
        (PermissionError(13, "Permission denied", "x"), 1),
        (FileNotFoundError(2, "No such file", "x"), 3),
        (ModuleNotFoundError("No module named 'torch'"), 1),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_raised_becomes_a_message_and_an_exit_code(error: BaseException, code: int) -> None:
    def registry() -> Registry:
        raise error

    result = CliRunner().invoke(build_cli(registry), ["nodes"])
    assert result.exit_code == code
    assert isinstance(result.exception, SystemExit)
    assert str(error) in result.stderr
    assert ("pip install 'graphexec[run]'" in result.stderr) == ("torch" in str(error))


def test_a_pack_that_cannot_be_loaded_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    info = tmp_path / "more-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: more\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[graphexec.nodes]\nmore = no_such_pack\n")
    result = CliRunner().invoke(CLI, ["nodes", "KSampler"])
    assert result.exit_code == 0
    assert "warning: the nodes of the pack 'more' are left out: ModuleNotFoundError: No module named" in result.stderr


def test_help_imports_next_to_nothing() -> None:
    heavy = {"torch", "numpy", "networkx", "pydantic", "jsonschema", "asyncio", "tqdm", "yaml", "platformdirs"}
    assert not loaded_by("--help") & heavy


def test_validate_imports_what_it_needs_alone(shell: Shell) -> None:
    path = Path(__file__).parents[1] / "data" / "broken" / "b52_base_ok.json"
    loaded = loaded_by("validate", "--skip-files", str(path))
    assert "networkx" in loaded
    heavy = {"torch", "numpy", "safetensors", "jsonschema", "asyncio", "tqdm", "graphexec.graph.execute"}
    assert not loaded & heavy


def test_a_run_that_finds_everything_in_the_cache_imports_no_torch(shell: Shell) -> None:
    workflow = Path(__file__).parents[2] / "workflows" / "lora.json"
    arguments = ["run", str(workflow), "--set", "KSampler.steps=1"]
    first = CliRunner().invoke(CLI, arguments)
    assert first.exit_code == 0, first.stderr
    assert not loaded_by(*arguments) & {"torch", "numpy", "safetensors", "PIL", "tqdm", "jsonschema"}
    (picture,) = Path("output").iterdir()
    assert first.stdout == f"{picture.absolute()}\n"


def test_python_m_is_the_same_command() -> None:
    command = [sys.executable, "-m", "graphexec", "nodes", "nothing"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert "there is no node 'nothing'" in done.stderr


def test_a_closed_pipe_ends_a_command_quietly(shell: Shell) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with shell.start("nodes", stdout=writing) as process:
        os.close(writing)
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (141, "")


def test_names_that_the_terminal_cannot_show_are_no_failure(shell: Shell) -> None:
    shell.write({"узел": ("Ynt", {})})
    command = [sys.executable, "-m", "graphexec", "validate", "workflow.json"]
    done = subprocess.run(
        command, env={**environment(), "PYTHONIOENCODING": "latin-1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert r"node \u0443" in done.stdout
