"""`graphexec convert-checkpoint`."""

from __future__ import annotations

from pathlib import Path

import click

from graphexec.cli.options import FILE


@click.command(
    "convert-checkpoint",
    epilog="\b\nExamples:\n"
    "  graphexec convert-checkpoint old.ckpt new.safetensors\n"
    "  graphexec convert-checkpoint model.safetensors half.safetensors --dtype fp16\n",
)
@click.argument("source", type=FILE, metavar="IN")
@click.argument("target", type=FILE, metavar="OUT.safetensors")
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
    from graphexec.diffusion.convert import convert_checkpoint
    from graphexec.graph.atomic import temporary

    if target.suffix.lower() != ".safetensors":
        raise click.BadParameter("the name must end in .safetensors", param_hint="OUT.safetensors")
    if target.exists():
        raise click.BadParameter(f"{target} is there already", param_hint="OUT.safetensors")
    with temporary(target.parent, (), fsync=False) as written:
        count = convert_checkpoint(source, written, dtype)
        written.replace(target)
    click.echo(str(target))
    click.echo(f"{count} tensors", err=True)
