"""`graphexec lora`: what a LoRA file holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphexec.cli.document import tell
from graphexec.cli.options import FILE, json_option

if TYPE_CHECKING:
    from graphexec.lora.summary import Summary

SHOWN = 20
"""How many unknown tensors are named: a file for another kind of model has thousands."""


@click.command("lora", epilog="\b\nExample:\n  graphexec lora models/loras/detail.safetensors\n")
@click.argument("file", type=FILE, metavar="FILE")
@json_option("what is known of the file")
def command(file: Path, as_json: bool) -> None:
    """Say what a LoRA file holds: for which models, of which rank, with which words it was trained, its hashes."""
    from graphexec.lora.summary import summarize

    found = summarize(file)
    text = "\n".join(f"{name}: {_printable(value)}" for name, value in lines(found) if value)
    tell(asdict(found), text, as_json)


def lines(found: Summary) -> Iterator[tuple[str, str]]:
    """What is said of a file, by name."""
    yield "for", found.family
    yield "kinds", _counted(found.kinds)
    yield "changes", _counted(found.networks)
    yield "rank", _span(found.ranks)
    yield "alpha", _span(found.alphas)
    yield "blocks", ", ".join(found.blocks)
    yield "trained on", found.base_model or ""
    yield "trigger phrase", found.trigger or ""
    yield "tags", _counted(found.tags)
    yield "unknown tensors", _some(found.unknown)
    yield "sha256", found.sha256
    yield "sha256 of the weights", found.weights_sha256


def _printable(text: str) -> str:
    """Metadata are whatever their writer liked; on a terminal they are to do nothing."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more, which --json names" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def _span(values: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys(f"{value:g}" for value in (values[0], values[-1]))) if values else ""
