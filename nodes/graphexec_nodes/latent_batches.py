"""Nodes that work on batches of latents."""

from __future__ import annotations

from typing import Annotated, Literal

from graphexec.diffusion.types import Latent
from graphexec.node.decorator import node
from graphexec.node.fields import BatchSize, Range

CATEGORY = "latent/batch"

Item = Annotated[int, Range(ge=0, le=63)]
Items = Annotated[int, Range(ge=1, le=64)]


@node("LatentBatch", category=CATEGORY)
def append_latents(samples1: Latent, samples2: Latent) -> Latent:
    """Make one batch of two.

    Args:
        samples1: the first batch.
        samples2: the second, resampled and cropped to the size of the first.
    """
    from graphexec.diffusion.latents.batches import append

    return append(samples1, samples2)


@node("LatentFromBatch", category=CATEGORY, display_name="Latent From Batch")
def pick_latents(samples: Latent, batch_index: Item = 0, length: Items = 1) -> Latent:
    """Take some of a batch; each draws the same noise as it would in its batch.

    Args:
        samples: the batch.
        batch_index: the first to take, from 0.
        length: how many.
    """
    from graphexec.diffusion.latents.batches import pick

    return pick(samples, batch_index, length)


@node("RepeatLatentBatch", category=CATEGORY, display_name="Repeat Latent Batch")
def repeat_latents(samples: Latent, amount: Items = 1) -> Latent:
    """Make a batch longer by repeating it.

    Args:
        samples: the batch.
        amount: how many times it is there.
    """
    from graphexec.diffusion.latents.batches import repeat

    return repeat(samples, amount)


@node("RebatchLatents", category=CATEGORY, display_name="Rebatch Latents")
def rebatch_latents(latents: list[Latent], batch_size: BatchSize = 1) -> list[Latent]:
    """Spread latents over batches of another length.

    Args:
        latents: batches of any length.
        batch_size: how many latents a batch has at most.
    """
    from graphexec.diffusion.latents.batches import rebatch

    return rebatch(latents, batch_size)


@node("LatentBatchSeedBehavior", category="latent/advanced")
def set_seed_behavior(samples: Latent, seed_behavior: Literal["random", "fixed"] = "fixed") -> Latent:
    """Say whether the items of a batch draw different noise.

    Args:
        samples: the batch.
        seed_behavior: random draws new noise for each, fixed the same for all.
    """
    from graphexec.diffusion.latents import batches

    return batches.seed_behavior(samples, seed_behavior)
