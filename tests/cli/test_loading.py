"""What a text of the command line stands for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import Nodes

from cli.pack import haunted
from cli.shell import Shell
from graphexec.cli.loading import parse_value
from graphexec.cli.main import build_cli
from graphexec.graph.workflow import Link
from graphexec.node.fields import Folder
from graphexec.node.spec import InputSpec


def given_as(wire: str, text: str, **more: Any) -> Any:
    return parse_value(InputSpec(name="x", wire=wire, widget=True, **more), text)


@pytest.mark.parametrize(
    ("wire", "text", "value"),
    [
        ("INT", "7", 7),
        ("INT", "-7", -7),
        ("INT", "3.9", 3.9),
        ("INT", "many", "many"),
        ("INT", "", ""),
        ("INT", "9" * 5000, "9" * 5000),
        ("INT", "nan", "nan"),
        ("INT", "true", "true"),
        ("INT", '["4", 1]', Link("4", 1)),
        ("FLOAT", "7", 7),
        ("FLOAT", "1e-3", 0.001),
        ("FLOAT", "inf", "inf"),
        ("BOOLEAN", "true", True),
        ("BOOLEAN", "False", False),
        ("BOOLEAN", "1", "1"),
        ("STRING", "7", "7"),
        ("STRING", "true", "true"),
        ("STRING", '["4", 1]', '["4", 1]'),
        ("STRING,INT", "7", "7"),
        ("INT,FLOAT", "7.5", 7.5),
        ("MODEL", '["4", 1]', Link("4", 1)),
        ("MODEL", "4", "4"),
        ("MODEL", "[4, 1]", "[4, 1]"),
        ("MODEL", "[" * 100_000, "[" * 100_000),
        ("*", "7", 7),
        ("*", "true", True),
        ("*", "text", "text"),
        ("*", '["4", 0]', Link("4", 0)),
    ],
)
def test_parse_value(wire: str, text: str, value: Any) -> None:
    found = given_as(wire, text)
    assert (type(found), found) == (type(value), value)


def test_choices_and_files_stay_texts_unless_a_choice_is_a_number() -> None:
    assert given_as("COMBO", "euler", choices=("euler", "7")) == "euler"
    assert given_as("COMBO", "7", choices=("euler", "7")) == "7"
    assert given_as("COMBO", "7", choices=(3, 7)) == 7
    assert given_as("COMBO", "8", choices=(3, 7)) == "8"
    assert given_as("COMBO", "7", folder=Folder("loras")) == "7"


@pytest.mark.parametrize("options", [("--set", "1.name=x"), ("--export", "2=x.safetensors")])
def test_a_node_that_cannot_be_read_is_a_fault_of_the_workflow_however_it_is_run(
    shell: Shell, options: tuple[str, str]
) -> None:
    shell.cli = build_cli(haunted)
    result = shell.run("run", shell.write({"1": ("Ghost", {"name": "a"}), "2": ("MakeLatent", {})}), *options)
    assert result.exit_code == 2
    assert "[missing_node_type]" in result.stderr


FAULTY: Nodes = {
    "i": ("Int", {"value": "x"}),
    "a": ("Add", {"a": ["i", 0], "b": 1}),
    "b": ("Add", {"a": ["a", 0], "b": 2}),
    "s": ("Show", {"source": ["b", 0]}),
    "l": ("MakeLatent", {"seed": 1}),
}


def codes(shell: Shell, command: str, *options: str) -> list[tuple[str | None, str | None, str]]:
    """Node, input and code of all errors that a command ends with."""
    result = shell.run(command, "workflow.json", *options)
    assert result.exit_code == 2, result.output
    heads = re.finditer(r"^\S.*?error: (?:node (\S+)[^:]*\)(?:\.(\w+))?: )?.*\[(\w+)\]$", result.stderr, re.MULTILINE)
    return [(head[1], head[2], head[3]) for head in heads]


BAD_INT = ("i", "value", "invalid_input_type")


@pytest.mark.parametrize("command", ["run", "plan", "graph"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--set", "nobody.x=1"], [(None, None, "unknown_node"), BAD_INT]),
        (["--set", "nobody"], [(None, None, "invalid_setting"), BAD_INT]),
        (["--set", "a.c=1"], [("a", "c", "undeclared_input"), BAD_INT]),
        (["--target", "nobody"], [(None, None, "unknown_node"), BAD_INT]),
        (["--set", "a.c=1", "--set", "i.value=y"], [("a", "c", "undeclared_input"), BAD_INT]),
        (
            ["--set", "a.c=1", "--set", 'b.a=["no", 0]'],
            [("a", "c", "undeclared_input"), BAD_INT, ("b", "a", "linked_node_missing")],
        ),
        (["--set", "a.c=1", "--set", "i.value=7"], [("a", "c", "undeclared_input")]),
        (["--set", "x", "--target", "y"], [(None, None, "invalid_setting"), (None, None, "unknown_node"), BAD_INT]),
    ],
)
def test_what_is_wrong_with_options_hides_no_fault_of_the_workflow(
    shell: Shell, command: str, options: list[str], expected: list[Any]
) -> None:
    shell.write(FAULTY)
    assert codes(shell, command, *options) == expected


def test_exports_hide_no_fault_of_the_workflow_either(shell: Shell) -> None:
    shell.write(FAULTY)
    slot = ("l", None, "output_slot_out_of_range")
    assert codes(shell, "run", "--export", "l:7=x.safetensors") == [slot, BAD_INT]
    shell.write({"l": FAULTY["l"]})
    assert codes(shell, "run", "--export", "l:7=x.safetensors") == [slot]


def test_model_folders_that_are_not_there_hide_no_fault(shell: Shell) -> None:
    shell.write(FAULTY)
    gone = ["--models", "gone", "--models", "away"]
    for command in ("run", "plan", "graph"):
        assert codes(shell, command, *gone) == [(None, None, "invalid_model_folder"), BAD_INT]
    told = shell.run("plan", "workflow.json", *gone).stderr
    assert all(str(Path(name).absolute()) in told for name in ("gone", "away"))
    Path("workflow.json").write_text("{", encoding="utf-8")
    assert [code for *_, code in codes(shell, "run", *gone)] == ["invalid_model_folder", "invalid_json"]


def test_how_a_command_ends_at_a_models_folder_that_cannot_be_read(shell: Shell) -> None:
    shell.write({"i": ("Int", {"value": 1}), "s": ("Show", {"source": ["i", 0]})})
    assert shell.run("run", "workflow.json", "--models", "gone").exit_code == 3
    Path("paths.yaml").write_text("[]", encoding="utf-8")
    assert shell.run("run", "workflow.json", "--extra-model-paths", "paths.yaml").exit_code == 2
    report = shell.json("run", "workflow.json", "--json", "--models", "gone")
    assert (report["status"], [each["code"] for each in report["diagnostics"]]) == ("missing", ["invalid_model_folder"])


def test_a_workflow_that_cannot_be_read_hides_no_fault_of_settings(shell: Shell) -> None:
    Path("workflow.json").write_text("{", encoding="utf-8")
    assert [code for *_, code in codes(shell, "plan", "--set", "nobody")] == ["invalid_setting", "invalid_json"]


def test_settings_that_are_made_in_part_make_no_faults(shell: Shell) -> None:
    shell.write({**FAULTY, "i": ("Int", {"value": 1})})
    circle = ["--set", 'a.a=["b", 0]']
    assert codes(shell, "plan", *circle) == [("a", "a", "dependency_cycle")]
    assert codes(shell, "plan", *circle, "--set", "b.aa=1") == [("b", "aa", "undeclared_input")]


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_that_is_written_out_comes_back(number: float) -> None:
    found = given_as("INT,FLOAT", repr(number))
    assert (type(found), found) == (type(number), number)
