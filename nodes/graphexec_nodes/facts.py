"""What the built-in nodes know of their outputs before anything runs; none of it reads a weight or imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphexec.diffusion.checkpoint import checkpoint_facts, open_checkpoint
from graphexec.node.fields import Facts, Inferred, Note

FLOAT_BYTES = 4
LATENT_CHANNELS = 4
DOWNSCALE = 8


def of_checkpoint(ckpt_name: Path) -> Inferred:
    """Family and size of a checkpoint, and the recipes that a LoRA is matched with."""
    known = checkpoint_facts(ckpt_name)
    model, clip, vae = open_checkpoint(ckpt_name)
    whole = {"family": known["family"], "bytes": known["bytes"]}
    return Inferred(({**whole, "recipe": model}, {"recipe": clip}, {"recipe": vae}))


def of_empty_latent(width: int | Facts, height: int | Facts, batch_size: int | Facts) -> Inferred:
    """Size of a batch of latents; warns where the picture will be smaller than asked for."""
    sizes = {"width": width, "height": height}
    notes = tuple(
        Note(
            f"{name} {size} is no multiple of {DOWNSCALE}; the picture will have {size - size % DOWNSCALE}",
            input=name,
            severity="warning",
            code="size_rounded_down",
            hint=f"write {size - size % DOWNSCALE} or {size - size % DOWNSCALE + DOWNSCALE}",
        )
        for name, size in sizes.items()
        if isinstance(size, int) and size % DOWNSCALE
    )
    if not (isinstance(width, int) and isinstance(height, int) and isinstance(batch_size, int)):
        return Inferred(notes=notes)
    return Inferred((latent_facts(width // DOWNSCALE, height // DOWNSCALE, batch_size),), notes)


def latent_facts(width: int, height: int, batch: int) -> dict[str, Any]:
    """Facts of latents of so many cells."""
    return {"latent": (width, height, batch), "bytes": width * height * batch * LATENT_CHANNELS * FLOAT_BYTES}


def of_sampled(latent_image: Facts) -> Inferred:
    """Sampling changes no size."""
    return Inferred((latent_image,))


def of_decoded(samples: Facts) -> Inferred:
    """Size of the pictures that latents decode to."""
    if "latent" not in samples:
        return Inferred()
    width, height, batch = samples["latent"]
    pixels = width * height * DOWNSCALE**2
    return Inferred(
        ({"picture": (width * DOWNSCALE, height * DOWNSCALE, batch), "bytes": pixels * batch * 3 * FLOAT_BYTES},)
    )


def recipe_of(facts: Mapping[str, Any] | None) -> Any:
    """The recipe of a model or text encoder, if it is known."""
    return facts.get("recipe") if facts else None
