"""`graphexec run`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeVar

import click

from graphexec.cli.diagnostics import (
    counted,
    diagnostic_json,
    fault_text,
    library_hint,
    node_name,
    printable_lines,
    render,
)
from graphexec.cli.document import print_document, stopped_by
from graphexec.cli.exits import STOPS, ExitCode, exit_code_of, exit_codes_in_words
from graphexec.cli.interrupts import Stopped, stopping
from graphexec.cli.options import (
    App,
    Caching,
    Changes,
    Checks,
    Places,
    cache_options,
    change_options,
    check_options,
    json_option,
    place_options,
    workflow_argument,
)
from graphexec.cli.sinks import Bars, Guarded, Lines, Record, Sparing, json_lines, paths
from graphexec.cli.terminal import is_watched, others_on_stderr
from graphexec.errors import AllFaults, Cancelled, Diagnostic, WorkflowError

if TYPE_CHECKING:
    from graphexec.cli.exports import Export
    from graphexec.graph.context import Context
    from graphexec.graph.events import Failed, Sink
    from graphexec.graph.plan import Plan
    from graphexec.graph.result import Result
    from graphexec.graph.workflow import Workflow
    from graphexec.node.registry import Registry

T = TypeVar("T")
Shape = Literal["text", "events", "json"]
"""What goes to stdout: paths, events, or one document."""


MOST_SHOWN = 5
"""How many of the nodes that a failure spoiled are named."""


@dataclass(slots=True)
class Outcome:
    """What came of a run, as far as it got."""

    file: str
    workflow: Workflow | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    record: Record = field(default_factory=Record)
    exported: Mapping[str, Sequence[Path]] = field(default_factory=dict[str, Sequence[Path]])
    unexported: Sequence[Export] = ()
    """Those of nodes that did not run."""
    export_errors: Sequence[str] = ()
    merged: Mapping[str, str] = field(default_factory=dict[str, str])
    """Nodes, and the identical ones that run in their place."""
    error: str | None = None
    code: ExitCode = ExitCode.DONE

    def name(self, node: str) -> str:
        """How a node is called in messages."""
        found = self.workflow.nodes.get(node) if self.workflow is not None else None
        return node_name(node, found.class_type, found.title) if found is not None else node_name(node)

    def by_each_id(self, found: Mapping[str, Sequence[T]]) -> dict[str, list[T]]:
        """What nodes left, under the ids of merged nodes too."""
        from graphexec.graph.plan import by_each_id

        return {node: list(items) for node, items in by_each_id(found, self.merged).items()}


@dataclass(frozen=True, slots=True)
class Job:
    """A workflow and what is to be done with it."""

    registry: Registry
    caching: Caching
    output: Path
    shape: Shape
    quiet: bool
    strict_lora: bool
    stdout: TextIO

    def compile(
        self, outcome: Outcome, changes: Changes, places: Places, checks: Checks, exports: Sequence[str]
    ) -> tuple[Plan, tuple[Export, ...]]:
        """Read and check the workflow; raises WorkflowError."""
        from graphexec.cli.exports import parse_exports
        from graphexec.cli.loading import Asked, find_folders, find_targets

        faults = AllFaults()
        folders = find_folders(places, faults, self.output)
        asked = Asked(outcome.file, changes, self.registry, faults)
        workflow = outcome.workflow = asked.workflow
        wanted = parse_exports(exports, workflow, self.registry, faults)
        exported = [export.node for export in wanted] if exports else None
        targets = find_targets(workflow, checks.targets, self.registry, faults, exported)
        plan = asked.plan(folders, checks, targets)
        outcome.diagnostics, outcome.merged = plan.diagnostics, plan.aliases
        return plan, wanted

    def execute(self, outcome: Outcome, plan: Plan, exports: Sequence[Export]) -> None:
        """Run the plan and write the exports; raises what stops a run as a whole."""
        from graphexec.cli.exports import write_exports
        from graphexec.graph.context import CancelToken

        cancel = CancelToken()
        guarded = Guarded((outcome.record, *self._sinks(outcome.name)), cancel)
        context = self.caching.context(
            self.registry, guarded, strict_lora=self.strict_lora, output=self.output, cancel=cancel
        )
        with stopping(cancel) as stopped:
            result = _result(plan, context)
            if result is not None:
                exported = write_exports(exports, plan, result)
                outcome.exported, outcome.unexported = exported.files, exported.left
                outcome.export_errors = exported.errors
        if guarded.fault is not None:
            raise guarded.fault
        outcome.code = _code(stopped, result, exports_written=not outcome.export_errors)

    def _sinks(self, name: Callable[[str], str]) -> tuple[Sink, ...]:
        if self.shape == "events":
            return (partial(json_lines, self.stdout),)
        progress = () if self.quiet else (Sparing(Bars(name) if is_watched() else Lines(name)),)
        return (*progress, partial(paths, self.stdout)) if self.shape == "text" else progress


def _result(plan: Plan, context: Context) -> Result | None:
    from graphexec.graph.execute import run

    try:
        return run(plan, context)
    except Cancelled:
        return None


def _code(stopped: Stopped, result: Result | None, *, exports_written: bool) -> ExitCode:
    if result is None:
        return stopped.code or ExitCode.INTERRUPTED
    return ExitCode.DONE if result.ok and exports_written else ExitCode.FAILED


@click.command(
    "run",
    epilog="\b\nExamples:\n"
    "  graphexec run workflow.json\n"
    '  graphexec run picture.png --set "KSampler.seed=7" --output pictures\n'
    "  graphexec run workflow.json --export 6:0=latent.safetensors --json\n\n" + exit_codes_in_words(),
)
@workflow_argument
@change_options
@place_options
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default="output",
    show_default=True,
    metavar="DIR",
    help="Folder that output nodes write into.",
)
@check_options
@click.option(
    "--export",
    "exports",
    multiple=True,
    metavar="NODE[:SLOT]=FILE",
    help="Write what an output of a node returned to a .safetensors file. Repeatable.",
)
@cache_options
@click.option("--events", type=click.Choice(["json"]), help="Print one event a line on stdout, and nothing else.")
@json_option("the result")
@click.option("--quiet", is_flag=True, help="Print nothing but the paths of files, and errors.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    workflow: str,
    changes: Changes,
    places: Places,
    checks: Checks,
    caching: Caching,
    output: Path,
    exports: tuple[str, ...],
    events: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a workflow and print where its files went.

    WORKFLOW is a file, a picture that holds one, or - for standard input. What has not changed since an earlier run
    is taken from the cache.
    """
    begun = time.perf_counter()
    if events and as_json:
        raise click.UsageError("--events and --json both want stdout; choose one")
    shape: Shape = "events" if events else "json" if as_json else "text"
    app: App = ctx.obj
    outcome = Outcome(workflow)
    try:
        stdout = sys.stdout
        with others_on_stderr():
            job = Job(app.registry(), caching, output, shape, quiet, checks.strict_lora, stdout)
            plan, wanted = job.compile(outcome, changes, places, checks, exports)
            if plan.diagnostics and not quiet:
                click.echo(render(plan.diagnostics, workflow), err=True)
            job.execute(outcome, plan, wanted)
    except WorkflowError as error:
        outcome.diagnostics, outcome.code = error.diagnostics, exit_code_of(error)
        click.echo(render(_worth_showing(error.diagnostics, quiet), workflow), err=True)
    except STOPS as error:
        if not as_json or isinstance(error, BrokenPipeError):
            raise
        outcome.code, outcome.error = exit_code_of(error), stopped_by(error)
        if outcome.error is not None:
            click.echo(fault_text(error), err=True)
    _show(outcome, shape, quiet, time.perf_counter() - begun)
    ctx.exit(outcome.code)


def _worth_showing(diagnostics: Sequence[Diagnostic], quiet: bool) -> list[Diagnostic]:
    return [diagnostic for diagnostic in diagnostics if diagnostic.severity == "error" or not quiet]


def _show(outcome: Outcome, shape: Shape, quiet: bool, seconds: float) -> None:
    """Print what is left to say once the run is over."""
    if shape != "json":
        _show_exported(_as_texts(outcome.exported), shape)
    if shape == "text" and not quiet:
        for node, texts in outcome.by_each_id(outcome.record.texts).items():
            click.echo(f"text of {outcome.name(node)}: " + printable_lines("\n".join(texts)), err=True)
    for line in _troubles(outcome):
        click.echo(line, err=True)
    if shape == "json":
        print_document(outcome.code, **_document(outcome, seconds))


def _show_exported(exported: Mapping[str, Sequence[str]], shape: Shape) -> None:
    for node, files in exported.items():
        event = json.dumps({"event": "exported", "node": node, "files": files})
        click.echo(event if shape == "events" else "\n".join(files))


def _troubles(outcome: Outcome) -> list[str]:
    """What failed, and what did not run because of it."""
    lines: list[str] = []
    for failed in outcome.record.failed:
        lines.append(f"error: {outcome.name(failed.node)}: {failed.error}: {printable_lines(failed.message)}")
        if (hint := library_hint(failed.message)) is not None:
            lines.append(f"  hint: {hint}")
        spoiled = [node for node, because in outcome.record.skipped.items() if because == failed.node]
        if spoiled:
            more = f" and {len(spoiled) - MOST_SHOWN} more" if len(spoiled) > MOST_SHOWN else ""
            shown = ", ".join(outcome.name(node) for node in spoiled[:MOST_SHOWN])
            lines.append(f"  not run because of it: {shown}{more}")
    lines += [
        f"error: {export.path} is not written: {outcome.name(export.node)} did not run" for export in outcome.unexported
    ]
    lines += [f"error: {message}" for message in outcome.export_errors]
    if outcome.code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        lines.append(f"interrupted after {counted(len(outcome.record.executed), 'node')}")
    return lines


def _document(outcome: Outcome, seconds: float) -> dict[str, Any]:
    record = outcome.record
    return {
        "files": _as_texts(outcome.by_each_id(record.files)),
        "exports": _as_texts(outcome.exported),
        "texts": outcome.by_each_id(record.texts),
        "executed": list(record.executed),
        "cached": record.cached,
        "skipped": list(record.skipped),
        "failures": [_failure(outcome, failed) for failed in record.failed],
        "warnings": [{"node": node, "message": message} for node, message in record.warned],
        "seconds": round(seconds, 3),
        "error": outcome.error or "\n".join(outcome.export_errors) or None,
        "diagnostics": [diagnostic_json(diagnostic) for diagnostic in outcome.diagnostics],
    }


def _as_texts(files: Mapping[str, Sequence[Path]]) -> dict[str, list[str]]:
    return {node: [str(path) for path in written] for node, written in files.items()}


def _failure(outcome: Outcome, failed: Failed) -> dict[str, Any]:
    node = outcome.workflow.nodes.get(failed.node) if outcome.workflow is not None else None
    return {
        "node": failed.node,
        "class_type": failed.class_type,
        "title": node.title if node is not None else None,
        "error": failed.error,
        "message": failed.message,
        "hint": library_hint(failed.message),
    }
