"""`graphexec graph`: draws a compiled workflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from graphexec.cli.diagnostics import printable
from graphexec.cli.options import (
    App,
    Changes,
    Checks,
    Places,
    change_options,
    check_options,
    place_options,
    workflow_argument,
)

if TYPE_CHECKING:
    from graphexec.graph.plan import Plan, PlannedNode


@click.command(
    "graph",
    epilog="\b\nExamples:\n"
    "  graphexec graph workflow.json\n"
    "  graphexec graph workflow.json --format dot | dot -Tsvg > workflow.svg\n",
)
@workflow_argument
@click.option(
    "--format",
    "shape",
    type=click.Choice(["mermaid", "dot"]),
    default="mermaid",
    show_default=True,
    help="The language to draw in.",
)
@change_options
@place_options
@check_options
@click.pass_obj
def command(app: App, *, workflow: str, shape: str, changes: Changes, places: Places, checks: Checks) -> None:
    """Draw the compiled graph: its nodes, and its edges with their types.

    Model files need not be there.
    """
    from graphexec.cli.loading import load_plan

    plan = load_plan(workflow, app.registry(), changes, places, checks, check_files=False)
    click.echo("\n".join(mermaid(plan) if shape == "mermaid" else dot(plan)))


def edges(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Every edge: where it comes from, where it leads, and what is written on it."""
    for name, planned in plan.nodes.items():
        for wire in planned.wires:
            kind = plan.nodes[wire.node].spec.outputs[wire.slot].wire
            label = kind if wire.input == kind.lower() else f"{kind} {wire.input}"
            yield wire.node, name, label + (" (lazy)" if wire.lazy else "")


def mermaid(plan: Plan) -> Iterator[str]:
    """The plan as a Mermaid flowchart."""
    names = {name: f"n{place}" for place, name in enumerate(plan.nodes)}
    yield "flowchart LR"
    for name, planned in plan.nodes.items():
        text = _mermaid_text("<br/>", planned)
        shape = f'(["{text}"])' if planned.spec.is_output else f'["{text}"]'
        yield f"  {names[name]}{shape}"
    for source, target, label in edges(plan):
        yield f'  {names[source]} -- "{_mermaid_escaped(label)}" --> {names[target]}'


def dot(plan: Plan) -> Iterator[str]:
    """The plan in Graphviz's language."""
    yield "digraph workflow {"
    yield "  rankdir=LR;"
    yield "  node [shape=box];"
    for name, planned in plan.nodes.items():
        shape = ", peripheries=2" if planned.spec.is_output else ""
        yield f"  {_quoted(name)} [label={_quoted(*_texts(planned))}{shape}];"
    for source, target, label in edges(plan):
        yield f"  {_quoted(source)} -> {_quoted(target)} [label={_quoted(label)}];"
    yield "}"


def _texts(planned: PlannedNode) -> list[str]:
    """What stands in a node's box, line by line."""
    title = [planned.title] if planned.title and planned.title != planned.spec.name else []
    return [f"{planned.id}: {planned.spec.name}", *title]


def _mermaid_text(line_break: str, planned: PlannedNode) -> str:
    return line_break.join(_mermaid_escaped(text) for text in _texts(planned))


def _mermaid_escaped(text: str) -> str:
    """Mermaid reads `#35;` as a character by its number; quotes and tags would end the text."""
    return "".join(f"#{ord(char)};" if char in '"#<>&`' else char for char in printable(text))


def _quoted(*lines: str) -> str:
    escaped = (printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
