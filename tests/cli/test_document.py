"""`--json`: one document, whatever ends the command."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from graphexec.cli.document import ending_in_a_document, print_document
from graphexec.cli.exits import ExitCode, Terminated
from graphexec.errors import CacheError, ModelFileError


def command(error: BaseException, *, wanted: bool = True) -> click.Command:
    @click.command()
    def failing() -> None:
        with ending_in_a_document(wanted=wanted):
            raise error

    return failing


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (CacheError("no cache"), ExitCode.FAILED, "no cache"),
        (ModelFileError("no model"), ExitCode.INVALID, "no model"),
        (OSError(), ExitCode.FAILED, "OSError"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, None),
        (Terminated(), ExitCode.TERMINATED, None),
    ],
)
def test_what_stops_a_command_is_in_the_document(error: BaseException, code: ExitCode, told: str | None) -> None:
    done = CliRunner().invoke(command(error), [])
    assert done.exit_code == code
    assert json.loads(done.stdout) == {"status": code.name.lower(), "error": told}
    assert (told or "interrupted") in done.stderr


def test_without_one_it_is_raised() -> None:
    done = CliRunner().invoke(command(CacheError("no cache"), wanted=False), [])
    assert isinstance(done.exception, CacheError)
    assert done.output == ""


def test_a_reader_that_went_away_is_told_nothing() -> None:
    done = CliRunner().invoke(command(BrokenPipeError()), [])
    assert (done.exit_code, done.output) == (1, "")


def test_the_status_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    print_document(ExitCode.DONE, files=[])
    assert list(json.loads(capsys.readouterr().out).items()) == [("status", "done"), ("files", [])]
