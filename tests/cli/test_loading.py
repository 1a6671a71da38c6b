"""What a text of the command line stands for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_that_is_written_out_comes_back(number: float) -> None:
    found = given_as("INT,FLOAT", repr(number))
    assert (type(found), found) == (type(number), number)
