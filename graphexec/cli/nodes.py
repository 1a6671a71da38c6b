"""`graphexec nodes`: the help of nodes, as their signatures and docstrings say it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from graphexec.cli.diagnostics import printable_lines
from graphexec.cli.document import print_document
from graphexec.cli.exits import ExitCode
from graphexec.cli.options import App, json_option
from graphexec.cli.terminal import others_on_stderr
from graphexec.errors import NodeDefinitionError

if TYPE_CHECKING:
    from graphexec.node.registry import Registry
    from graphexec.node.spec import InputSpec, NodeSpec


@click.command("nodes", epilog="\b\nExamples:\n  graphexec nodes\n  graphexec nodes KSampler\n")
@click.argument("name", required=False, metavar="[NAME]")
@json_option("the nodes, as ComfyUI's /object_info shows them,")
@click.pass_context
def command(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """List the nodes there are, or explain the one called NAME."""
    from graphexec.node.views import object_info

    app: App = ctx.obj
    registry = app.registry()
    if name is not None and name not in registry:
        near = registry.nearest(name)
        guess = f"did you mean {' or '.join(near)}?" if near else "`graphexec nodes` lists them all"
        message = f"there is no node {name!r}; {registry.absent.get(name, guess)}"
        click.echo(f"error: {message}", err=True)
        if as_json:
            print_document(ExitCode.INVALID, error=message)
        ctx.exit(ExitCode.INVALID)
    with others_on_stderr():
        specs = [registry[name]] if name is not None else list(readable(registry))
    if as_json:
        click.echo(json.dumps({spec.name: object_info(spec) for spec in specs}, indent=2))
    else:
        click.echo("\n".join(explain(specs[0]) if name is not None else listing(specs)))


def readable(registry: Registry) -> Iterator[NodeSpec]:
    """All nodes but those that cannot be read, each of which is warned of."""
    for name in registry:
        try:
            yield registry[name]
        except NodeDefinitionError as error:
            click.echo(printable_lines(f"warning: the node {name!r} is left out: {error}"), err=True)


def listing(specs: Sequence[NodeSpec]) -> Iterator[str]:
    """Nodes by category, a line each."""
    by_category: dict[str, list[NodeSpec]] = {}
    for spec in specs:
        by_category.setdefault(spec.category or "other", []).append(spec)
    width = max((len(spec.name) for spec in specs), default=0)
    for category in sorted(by_category):
        yield category
        for spec in by_category[category]:
            yield f"  {spec.name:<{width}}  {spec.description}".rstrip()


def explain(spec: NodeSpec) -> Iterator[str]:
    """The help of one node."""
    display = f" - {spec.display_name}" if spec.display_name != spec.name else ""
    yield f"{spec.name}{display}" + (f" ({spec.category})" if spec.category else "")
    if spec.description:
        yield f"  {spec.description}"
    if spec.inputs:
        yield "\ninputs:"
    for given in spec.inputs.values():
        yield f"  {given.name}: {_kind(given)}"
        if given.tooltip:
            yield f"      {given.tooltip}"
    if spec.outputs:
        yield "\noutputs:"
    for slot, output in enumerate(spec.outputs):
        named = f" {output.name}" if output.name != output.wire else ""
        yield f"  {slot}{named}: {output.wire}{' (a list)' if output.is_list else ''}"
    if spec.is_output:
        yield "\nan output node: it runs for what it saves or shows"


def _kind(given: InputSpec) -> str:
    words = [given.expectation()]
    if given.has_default and given.default is not None:
        words.append(f"default {given.default_text}")
    if given.optional:
        words.append("optional")
    if given.lazy:
        words.append("computed only if the node asks for it")
    if given.whole_list:
        words.append("takes a whole list")
    return ", ".join(words)
