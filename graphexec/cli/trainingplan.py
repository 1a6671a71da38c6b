"""The plan of a training run, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from graphexec.cli.diagnostics import counted, printable
from graphexec.cli.sizes import show_size

if TYPE_CHECKING:
    from graphexec.train.plan import Plan

MOST_BUCKETS = 12


def lines(plan: Plan) -> Iterator[str]:
    """What `--dry-run` says."""
    yield f"base: {plan.base} ({plan.family}, predicts {plan.prediction})"
    others = f", {plan.regularisation} of them for regularisation" if plan.regularisation else ""
    held_out = f"; {plan.held_out} more are held out for validation" if plan.held_out else ""
    yield f"pictures: {plan.pictures}{others}, used {plan.used_per_epoch} times an epoch{held_out}"
    yield f"buckets: {_buckets(plan)}"
    yield "captions, in the first epoch:"
    yield from (f"  {printable(picture)}: {printable(text)}" for picture, text in plan.captions)
    yield f"batches: {plan.batches_per_epoch} an epoch, of up to {max(plan.batch_sizes, default=1)}"
    yield f"training: {counted(plan.epochs, 'epoch')}, {counted(plan.steps, 'step')}"
    cost = plan.cost
    yield f"adapters: {cost.adapters}, {cost.parameters:,} parameters, a file of {show_size(cost.file_bytes)}"
    yield (
        f"memory: about {show_size(cost.memory_bytes)} ({show_size(cost.weight_bytes)} base,"
        f" {show_size(cost.training_bytes)} adapters and optimiser,"
        f" {show_size(cost.activation_bytes)} for the way back)"
    )
    yield (
        f"time: about {_duration(plan.seconds)} on {plan.device} ({cost.operations / 1e12:.3g} T operations a batch"
        " of the largest bucket, at half the speed at which the device multiplies large matrices)"
    )
    yield f"result: {plan.output}"
    yield from (f"warning: {printable(warning)}" for warning in plan.warnings)


def _buckets(plan: Plan) -> str:
    shown = [f"{width} x {height}: {count}" for (width, height), count in list(plan.buckets.items())[:MOST_BUCKETS]]
    more = len(plan.buckets) - MOST_BUCKETS
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 1 else f"{seconds:.0f} s"
