"""`graphexec convert-checkpoint`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import click

from graphexec.cli.options import FILE
from graphexec.errors import OutputError

OUT = "OUT.safetensors"


@click.command(
    "convert-checkpoint",
    epilog="\b\nExamples:\n"
    "  graphexec convert-checkpoint old.ckpt new.safetensors\n"
    "  graphexec convert-checkpoint model.safetensors half.safetensors --dtype fp16\n",
)
@click.argument("source", type=FILE, metavar="IN")
@click.argument("target", type=FILE, metavar=OUT)
@click.option(
    "--dtype",
    type=click.Choice(["fp32", "fp16", "bf16"]),
    help="Precision of the weights; without it they stay as they are.",
)
def command(source: Path, target: Path, dtype: str | None) -> None:
    """Write a checkpoint as safetensors.

    IN is a safetensors file or one that PyTorch pickled (.ckpt, .pt, .pth, .bin). Nothing that is in a pickle is run:
    what training leaves beside the tensors is passed over, a file that holds anything else is refused. OUT is there
    whole or not at all, and is never replaced.
    """
    from graphexec.diffusion.convert import converted_tensors
    from graphexec.diffusion.save import safetensors_chunks

    if target.suffix.lower() != ".safetensors":
        raise click.BadParameter("the name must end in .safetensors", param_hint=OUT)
    if os.path.lexists(target):
        raise _taken(target)
    tensors, metadata = converted_tensors(source, dtype)
    _write(target, safetensors_chunks(tensors, metadata))
    click.echo(str(target))
    click.echo(f"{len(tensors)} tensors", err=True)


def _write(target: Path, chunks: Iterable[bytes]) -> None:
    """Write a file that is not there yet. Raises `OutputError`, and `BadParameter` if another made it meanwhile."""
    from graphexec.graph.atomic import claim, claim_mark, sweep, temporary

    mark = claim_mark(target)
    try:
        with os.scandir(target.parent) as entries:
            sweep(entries)
        if mark.exists():  # known now, not after the work
            raise _claimed(target, mark)
        with temporary(target.parent, chunks, fsync=True) as written:
            if not claim(written, target):
                raise _taken(target) if os.path.lexists(target) else _claimed(target, mark)
    except OSError as error:
        why = error.strerror or error
        raise OutputError(f"{target} cannot be written: {why}; make room there, or name another place") from error


def _taken(target: Path) -> click.BadParameter:
    return click.BadParameter(f"{target} is there already", param_hint=OUT)


def _claimed(target: Path, mark: Path) -> OutputError:
    return OutputError(
        f"{target} is just being written by another process, or one was killed at that: try again, and if it stays so"
        f" remove {mark}"
    )
