"""`graphexec validate` over a table of workflows that are broken in one way each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from data.broken.big import read

from graphexec.cli.main import build_cli, standard_registry

FOLDER = Path(__file__).parents[1] / "data" / "broken"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))

CODES = {
    "b01": "return_type_mismatch",
    "b02": "return_type_mismatch",
    "b03": "required_input_missing",
    "b04": "required_input_missing",
    "b05": "missing_node_type",
    "b06": "missing_node_type",
    "b07": "dependency_cycle",
    "b09": "output_slot_out_of_range",
    "b11": "bad_linked_input",
    "b12": "bad_linked_input",
    "b14": "value_smaller_than_min",
    "b15": "value_bigger_than_max",
    "b16": "value_not_in_list",
    "b17": "value_not_in_list",
    "b18": "linked_node_missing",
    "b20": "invalid_inputs",
    "b21": "invalid_input_type",
    "b22": "lossy_conversion",
    "b23": "lossy_conversion",
    "b24": "lossy_conversion",
    "b25": "invalid_input_type",
    "b26": "not_finite_number",
    "b28": "value_bigger_than_max",
    "b29": "number_too_long",
    "b31": "duplicate_key",
    "b35": "prompt_no_outputs",
    "b36": "undeclared_input",
    "b38": "ui_format",
    "b39": "wrapped_prompt",
    "b40": "invalid_json",
    "b41": "empty_file",
    "b42": "prompt_no_outputs",
    "b43": "not_a_workflow",
    "b49": "nested_too_deeply",
    "b51": "return_type_mismatch",
}
"""What is found in each case that is not sound."""
TOLD_ANYWAY = {"b44": "byte_order_mark", "b45": "byte_order_mark"}
"""Sound cases of which there is something to say; and b44 and b45 are sound under --strict too."""


def name_of(case: dict[str, Any]) -> str:
    return case["file"].split("_")[0]


def validate(case: dict[str, Any], tmp_path: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code, and what was found."""
    path = tmp_path / case["file"]
    path.write_bytes(read(path.stem))
    arguments = ["validate", "--format", "json", str(path), *options]
    if name_of(case) != "b17":
        arguments.append("--skip-files")
    result = CliRunner().invoke(build_cli(standard_registry), arguments)
    (report,) = json.loads(result.stdout)["files"]
    assert report["ok"] == (result.exit_code == 0)
    return result.exit_code, report["diagnostics"]


def place(case: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether a diagnostic is the one that the case is about."""
    name = name_of(case)
    expected = (CODES[name], case["node_id"], case["input"])
    return (found["code"], found["node"], found["input"]) == expected


@pytest.mark.parametrize("case", [case for case in CASES if case["severity"] == "error"], ids=name_of)
def test_errors(case: dict[str, Any], tmp_path: Path) -> None:
    code, found = validate(case, tmp_path)
    assert code == (3 if name_of(case) == "b17" else 2)
    assert any(place(case, each) and each["severity"] == "error" for each in found)
    assert {each["code"] for each in found if each["severity"] == "error"} == {CODES[name_of(case)]}


@pytest.mark.parametrize("case", [case for case in CASES if case["severity"] == "warning"], ids=name_of)
def test_warnings(case: dict[str, Any], tmp_path: Path) -> None:
    code, found = validate(case, tmp_path)
    assert (code, [(place(case, each), each["severity"]) for each in found]) == (0, [(True, "warning")])
    code, found = validate(case, tmp_path, "--strict")
    assert (code, [(place(case, each), each["severity"]) for each in found]) == (2, [(True, "error")])


@pytest.mark.parametrize("case", [case for case in CASES if case["severity"] == "valid"], ids=name_of)
def test_sound_ones(case: dict[str, Any], tmp_path: Path) -> None:
    code, found = validate(case, tmp_path, "--strict")
    assert code == 0
    assert [each["code"] for each in found] == ([TOLD_ANYWAY[name_of(case)]] if name_of(case) in TOLD_ANYWAY else [])


def test_every_case_is_in_the_table() -> None:
    assert {name_of(case) for case in CASES if case["severity"] != "valid"} == set(CODES)
    assert len(CASES) == 40
