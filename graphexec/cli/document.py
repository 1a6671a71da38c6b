"""`--json`: one document on stdout, whatever ends the command."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import click

from graphexec.cli.diagnostics import fault_text
from graphexec.cli.exits import STOPS, ExitCode, exit_code_of
from graphexec.errors import Cancelled, said


def print_document(code: ExitCode, **fields: Any) -> None:
    """Print how a command ended, and what came of it."""
    click.echo(json.dumps({"status": code.name.lower(), **fields}, indent=2))


def tell(document: dict[str, Any], text: str, as_json: bool) -> None:
    """Print what came of a command that is done: as a document, or as text."""
    if as_json:
        print_document(ExitCode.DONE, **document)
    else:
        click.echo(text)


def stopped_by(error: BaseException) -> str | None:
    """What a document says of an exception that ended the command; nothing of an interruption, which is its status."""
    return None if isinstance(error, KeyboardInterrupt | Cancelled) else said(error)


@contextmanager
def ending_in_a_document(*, wanted: bool) -> Generator[None]:
    """Let what stops the command inside be told as a document too, if one is wanted."""
    try:
        yield
    except STOPS as error:
        if not wanted or isinstance(error, BrokenPipeError):
            raise
        context = click.get_current_context()
        click.echo(fault_text(error, context.info_name or ""), err=True)
        code = exit_code_of(error)
        print_document(code, error=stopped_by(error))
        context.exit(code)
