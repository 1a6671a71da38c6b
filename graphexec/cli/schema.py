"""`graphexec schema`."""

from __future__ import annotations

from pathlib import Path

import click

from graphexec.cli.exits import ExitCode
from graphexec.cli.options import App
from graphexec.cli.terminal import others_on_stderr


@click.command("schema", epilog="\b\nExamples:\n  graphexec schema\n  graphexec schema --check schemas\n")
@click.argument(
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default="schemas",
    metavar="[DIR]",
)
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit with 1 if files are stale, naming them.")
@click.pass_context
def command(ctx: click.Context, directory: Path, only_check: bool) -> None:
    """Write JSON Schemas of the workflow format and of all nodes into DIR (schemas by default)."""
    from graphexec.graph.schemas import stale_schemas, write_schemas

    app: App = ctx.obj
    if not only_check:
        with others_on_stderr():
            written = list(write_schemas(app.registry(), directory))
        click.echo("\n".join(map(str, written)))
        return
    stale = stale_schemas(app.registry(), directory)
    for path in stale:
        click.echo(f"stale: {path}", err=True)
    if stale:
        click.echo(f"run: graphexec schema {directory}", err=True)
        ctx.exit(ExitCode.FAILED)
