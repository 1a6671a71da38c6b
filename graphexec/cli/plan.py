"""`graphexec plan`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import click

from graphexec.cli.diagnostics import diagnostic_json, printable
from graphexec.cli.document import tell
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
from graphexec.cli.sizes import show_size

if TYPE_CHECKING:
    from graphexec.graph.context import Context
    from graphexec.graph.plan import Plan, PlannedNode

State = Literal["run", "perhaps", "cached", "idle"]
"""It will run; it runs if another one asks for it; its result is kept; only kept results need it."""


@click.command(
    "plan",
    epilog="\b\nExamples:\n"
    "  graphexec plan workflow.json\n"
    "  graphexec plan workflow.json --set KSampler.steps=30 --json\n",
)
@workflow_argument
@change_options
@place_options
@check_options
@cache_options
@json_option("the plan")
@click.pass_obj
def command(
    app: App, *, workflow: str, changes: Changes, places: Places, checks: Checks, caching: Caching, as_json: bool
) -> None:
    """Show what would run, in which order, what is cached, and how much memory each node's results take.

    A node is to run, or runs perhaps (where another one decides), is cached, or idle (only cached nodes need it).
    """
    from graphexec.cli.loading import load_plan

    registry = app.registry()
    plan = load_plan(workflow, registry, changes, places, checks, as_json=as_json)
    states = states_of(plan, caching.context(registry, strict_lora=checks.strict_lora))
    tell(_document(plan, states), "\n".join(_lines(plan, states)), as_json)


def states_of(plan: Plan, context: Context) -> dict[str, State]:
    """What would become of each node in a run."""
    keys = context.keys(plan)
    states: dict[str, State] = dict.fromkeys(plan.nodes, "idle")
    pending: list[tuple[str, State]] = [(name, "run") for name in plan.targets]
    while pending:
        name, state = pending.pop()
        if states[name] in ("cached", "run", state):
            continue
        key = keys[name]
        if key is not None and context.cache.contains(key):
            states[name] = "cached"
            continue
        states[name] = state
        for wire in plan.nodes[name].wires:
            pending.append((wire.node, "perhaps" if wire.lazy else state))
    return states


def size_of(planned: PlannedNode) -> int | None:
    """Bytes of a node's outputs, as far as they are known."""
    sizes = [facts["bytes"] for facts in planned.facts if "bytes" in facts]
    return sum(sizes) if sizes else None


def _lines(plan: Plan, states: Mapping[str, State]) -> list[str]:
    rows = [("", "node", "class", "state", "memory", "title")]
    for place, (name, planned) in enumerate(plan.nodes.items(), 1):
        size = size_of(planned)
        shown = "-" if size is None else show_size(size)
        rows.append((str(place), name, planned.spec.name, states[name], shown, planned.title or ""))
    merged = [f"{other} is the same as {kept} and does not run" for other, kept in plan.aliases.items()]
    count = sum(state == "run" for state in states.values())
    summary = f"targets: {', '.join(plan.targets)}; {count} of {len(plan.nodes)} nodes to run"
    return [*_table(rows), *map(printable, merged), printable(summary)]


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _document(plan: Plan, states: Mapping[str, State]) -> dict[str, Any]:
    return {
        "targets": list(plan.targets),
        "nodes": [_node_json(planned, states[name]) for name, planned in plan.nodes.items()],
        "merged": dict(plan.aliases),
        "files": [str(path) for path in plan.files],
        "diagnostics": [diagnostic_json(diagnostic) for diagnostic in plan.diagnostics],
    }


def _node_json(planned: PlannedNode, state: State) -> dict[str, Any]:
    return {
        "id": planned.id,
        "class_type": planned.spec.name,
        "title": planned.title,
        "state": state,
        "bytes": size_of(planned),
        "needs": list(dict.fromkeys(wire.node for wire in planned.wires)),
    }
