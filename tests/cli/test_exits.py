"""What diagnostics amount to."""

from __future__ import annotations

import pytest

from graphexec.cli.exits import ExitCode, exit_code
from graphexec.errors import Diagnostic

WARNING = Diagnostic(code="unused_node", message="", severity="warning")
FAULT = Diagnostic(code="missing_node_type", message="")
NO_FILE = Diagnostic(code="value_not_in_list", message="", missing_file=True)


@pytest.mark.parametrize(
    ("diagnostics", "code"),
    [
        ([], ExitCode.DONE),
        ([WARNING], ExitCode.DONE),
        ([FAULT, WARNING], ExitCode.INVALID),
        ([NO_FILE, WARNING], ExitCode.MISSING),
        ([NO_FILE, FAULT], ExitCode.INVALID),
    ],
)
def test_exit_code(diagnostics: list[Diagnostic], code: ExitCode) -> None:
    assert exit_code(diagnostics) is code


def test_the_numbers_are_a_contract() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0,
        "FAILED": 1,
        "INVALID": 2,
        "MISSING": 3,
        "INTERRUPTED": 130,
        "BROKEN_PIPE": 141,
        "TERMINATED": 143,
    }
