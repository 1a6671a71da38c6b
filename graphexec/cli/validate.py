"""`graphexec validate`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from graphexec.cli.diagnostics import counted, diagnostic_json, render, tally
from graphexec.cli.document import ending_in_a_document, print_document
from graphexec.cli.exits import exit_code, exit_codes_in_words
from graphexec.cli.options import App, Checks, Places, check_options, place_options
from graphexec.cli.terminal import others_on_stderr
from graphexec.errors import AllFaults, Diagnostic, WorkflowError

if TYPE_CHECKING:
    from graphexec.graph.folders import Folders
    from graphexec.node.registry import Registry

Reports = Sequence[tuple[str, tuple[Diagnostic, ...]]]
"""Files as they were named, and what was found in each."""


@click.command(
    "validate",
    epilog="\b\nExamples:\n"
    "  graphexec validate workflow.json\n"
    "  graphexec validate --format json --skip-files workflows/*.json\n\n" + exit_codes_in_words(),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print what was found.",
)
@click.option("--skip-files", is_flag=True, help="Do not look whether the model files are there.")
@check_options
@place_options
@click.pass_context
def command(
    ctx: click.Context, *, files: tuple[str, ...], shape: str, skip_files: bool, checks: Checks, places: Places
) -> None:
    """Check workflows and print everything that is wrong with them.

    FILE is a workflow, a picture that holds one, or - for standard input.
    """
    from graphexec.cli.loading import find_folders

    app: App = ctx.obj
    with ending_in_a_document(wanted=shape == "json"), others_on_stderr():
        faults = AllFaults()
        registry, folders = app.registry(), find_folders(places, faults)
        reports = [(file, (*faults.found, *examine(file, registry, folders, checks, not skip_files))) for file in files]
    code = exit_code(diagnostic for _, found in reports for diagnostic in found)
    if shape == "json":
        print_document(code, files=as_json(reports))
    else:
        click.echo(as_text(reports))
    ctx.exit(code)


def examine(
    file: str, registry: Registry, folders: Folders | None, checks: Checks, check_files: bool
) -> tuple[Diagnostic, ...]:
    """What is wrong with one file."""
    from graphexec.cli.loading import checked, find_targets
    from graphexec.graph.workflow import read_workflow

    try:
        workflow = read_workflow(file)
    except WorkflowError as error:
        return error.diagnostics
    faults = AllFaults()
    targets = find_targets(workflow, checks.targets, registry, faults)
    found = checked(workflow, registry, folders, checks, targets, check_files=check_files)
    return (*faults.found, *found.diagnostics)


def is_sound(diagnostics: Iterable[Diagnostic]) -> bool:
    """Whether a workflow with these diagnostics could run."""
    return all(diagnostic.severity != "error" for diagnostic in diagnostics)


def as_json(reports: Reports) -> list[dict[str, Any]]:
    """The reports as they stand in the document."""
    return [
        {"file": file, "ok": is_sound(found), "diagnostics": [diagnostic_json(each) for each in found]}
        for file, found in reports
    ]


def as_text(reports: Reports) -> str:
    """The reports as lines, the last of which sums them up."""
    parts = [render(found, file) for file, found in reports if found]
    unsound = sum(not is_sound(found) for _, found in reports)
    found = tally(diagnostic for _, found in reports for diagnostic in found)
    summary = f"{counted(len(reports), 'file')} checked, {unsound or 'none'} with errors" + (
        f" ({found})" if found else ""
    )
    return "\n".join([*parts, summary])
