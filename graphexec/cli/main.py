"""The `graphexec` command: finds a command's module when it is used, and turns what is raised into exit codes."""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from graphexec.cli.diagnostics import fault_text, printable_lines
from graphexec.cli.exits import STOPS, exit_code_of
from graphexec.cli.interrupts import raise_at_sigterm
from graphexec.cli.options import App
from graphexec.cli.terminal import others_on_stderr
from graphexec.cli.threads import stay_within_quota, wait_briefly

if TYPE_CHECKING:
    from graphexec.node.registry import Registry

COMMANDS = (
    "run",
    "validate",
    "plan",
    "graph",
    "nodes",
    "schema",
    "cache",
    "lora",
    "train",
    "convert-checkpoint",
    "caption",
)


class Commands(click.Group):
    """The commands: `graphexec run` is `command` of graphexec/cli/run.py, imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"graphexec.cli.{cmd_name.replace('-', '_')}").command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what it raises on purpose ends in a message and an exit code, never in a traceback."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            _drop_stdout()
            ctx.exit(exit_code_of(error))
        except STOPS as error:
            click.echo(fault_text(error, ctx.invoked_subcommand or ""), err=True)
            ctx.exit(exit_code_of(error))


def _drop_stdout() -> None:
    """Let what is still buffered go nowhere: flushing it at exit would fail again, with a message."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def build_cli(registry: Callable[[], Registry]) -> click.Group:
    """The command line over the nodes of a registry, which is made when a command needs it."""
    return click.version_option(package_name="graphexec", prog_name="graphexec")(
        Commands(
            "graphexec",
            help=DESCRIPTION,
            epilog=EXAMPLES,
            context_settings={"obj": App(registry), "help_option_names": ["-h", "--help"]},
        )
    )


DESCRIPTION = """Compile, check, run and cache ComfyUI workflows, without ComfyUI.

A workflow is a file in ComfyUI's API format, or a picture that ComfyUI or graphexec saved.
"""
EXAMPLES = """\b
Examples:
  graphexec run workflow.json --set KSampler.seed=7
  graphexec validate *.json
  graphexec nodes KSampler
"""


COLLECT_AFTER = 100_000
"""New objects before the garbage collector looks: a large workflow is a million of them that all live to the end."""


def standard_registry() -> Registry:
    """The built-in nodes and those of installed packs; a pack that cannot be loaded is warned of."""
    from graphexec.node.registry import Registry

    with others_on_stderr():
        registry = Registry.standard()
    for pack, why in registry.broken.items():
        click.echo(printable_lines(f"warning: the nodes of the pack {pack!r} are left out: {why}"), err=True)
    return registry


def main() -> None:
    """Run the command that the process was started with, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no failure
    gc.set_threshold(COLLECT_AFTER)
    wait_briefly()
    stay_within_quota()
    raise_at_sigterm()
    build_cli(standard_registry)(prog_name="graphexec")
