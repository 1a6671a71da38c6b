"""`graphexec cache`: looks after the disk cache."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from graphexec.cli.diagnostics import counted
from graphexec.cli.document import tell
from graphexec.cli.options import Store, json_option, store_options
from graphexec.cli.sizes import parse_size, show_size

if TYPE_CHECKING:
    from graphexec.graph.store import DiskStore, Removed


@click.group("cache", epilog="\b\nExamples:\n  graphexec cache info\n  graphexec cache gc --max-size 5GB\n")
def command() -> None:
    """Look after the cache of results on disk.

    It is made by itself, and kept within its size; nothing but time is lost with it.
    """


@command.command("info", epilog="\b\nExample:\n  graphexec cache info --json\n")
@store_options
@json_option("the figures")
def info(store: Store, as_json: bool) -> None:
    """Say where the cache is and how much it holds."""
    found = _open(store).info()
    text = f"{found.root}\n{_entries(found.entries, found.bytes)}, at most {show_size(found.max_bytes)}"
    tell(asdict(found) | {"root": str(found.root)}, text, as_json)


@command.command("gc", epilog="\b\nExample:\n  graphexec cache gc --max-size 5GB\n")
@store_options
@click.option(
    "--max-size", type=parse_size, metavar="SIZE", help="What may be left, as 500MB or 5GB; else the usual size."
)
@json_option("what was removed")
def gc(store: Store, max_size: int | None, as_json: bool) -> None:
    """Remove results, those that were not used for longest first, until the cache is small enough."""
    _tell_removed(_open(store).gc(max_size), as_json)


@command.command("verify", epilog="\b\nExample:\n  graphexec cache verify\n")
@store_options
@json_option("what was found")
def verify(store: Store, as_json: bool) -> None:
    """Read every entry and remove those that are damaged; they will be computed again."""
    report = _open(store).verify()
    dropped = [str(path) for path in report.dropped]
    text = "\n".join(
        [*(f"removed {path}" for path in dropped), f"{counted(report.ok, 'sound result')}, {len(dropped)} removed"]
    )
    tell({"ok": report.ok, "dropped": dropped}, text, as_json)


@command.command("clear", epilog="\b\nExample:\n  graphexec cache clear\n")
@store_options
@json_option("what was removed")
def clear(store: Store, as_json: bool) -> None:
    """Remove every result, and the hashes of model files."""
    _tell_removed(_open(store).clear(), as_json)


def _open(store: Store) -> DiskStore:
    from graphexec.graph.store import DiskStore

    return DiskStore(store.root)


def _entries(entries: int, size: int) -> str:
    return f"{counted(entries, 'result')}, {show_size(size)}"


def _tell_removed(removed: Removed, as_json: bool) -> None:
    tell(asdict(removed), f"removed {_entries(removed.entries, removed.bytes)}", as_json)
