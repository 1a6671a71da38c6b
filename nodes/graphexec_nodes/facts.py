"""What the built-in nodes know of their outputs before anything runs; none of it reads a weight or imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphexec.diffusion.families import check_encoders
from graphexec.diffusion.faults import LatentError, MergeError
from graphexec.diffusion.latents.lengths import blended_length
from graphexec.diffusion.merge import check_families
from graphexec.diffusion.types import DOWNSCALE, LATENT_CHANNELS
from graphexec.errors import ModelFileError
from graphexec.node.fields import Facts, Inferred, Note

if TYPE_CHECKING:
    from graphexec.lora.coverage import Coverage

FLOAT_BYTES = 4


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


def of_last_layer(clip: Facts, stop_at_clip_layer: int | Facts) -> Inferred:
    """The text encoder that stops at another layer."""
    if "recipe" not in clip or not isinstance(stop_at_clip_layer, int):
        return Inferred((clip,))
    return Inferred(({**clip, "recipe": replace(clip["recipe"], last_layer=stop_at_clip_layer)},))


def of_clip(clip: Facts) -> Inferred:
    """The text encoder is the same."""
    return Inferred((clip,))


def of_noised(latent_image: Facts) -> Inferred:
    """Noise changes no size."""
    return Inferred((latent_image,))


def of_sampled_twice(latent_image: Facts) -> Inferred:
    """Sampling changes no size, of either output."""
    return Inferred((latent_image, latent_image))


def of_same(samples: Facts) -> Inferred:
    """What changes values of latents alone."""
    return Inferred((samples,))


def of_first(samples1: Facts) -> Inferred:
    """What makes the second latents like the first."""
    return Inferred((samples1,))


def of_blend(samples1: Facts, samples2: Facts) -> Inferred:
    """The first's size and the longer batch, which a single latent is repeated to; other lengths are an error."""
    if "latent" not in samples1 or "latent" not in samples2:
        return Inferred()
    (width, height, one), (_, _, two) = samples1["latent"], samples2["latent"]
    try:
        return Inferred((latent_facts(width, height, blended_length(one, two)),))
    except LatentError as error:
        return Inferred(notes=(Note(str(error), "samples2"),))


def of_composite(samples_to: Facts) -> Inferred:
    """What lays latents over others."""
    return Inferred((samples_to,))


def of_decoded(samples: Facts) -> Inferred:
    """Size of the pictures that latents decode to."""
    if "latent" not in samples:
        return Inferred()
    width, height, batch = samples["latent"]
    pixels = width * height * DOWNSCALE**2
    return Inferred(
        ({"picture": (width * DOWNSCALE, height * DOWNSCALE, batch), "bytes": pixels * batch * 3 * FLOAT_BYTES},)
    )


def of_model_and_clip(model: Facts, clip: Facts) -> Inferred:
    """Both are as before."""
    return Inferred((model, clip))


def of_lora(
    model: Facts, clip: Facts, lora_name: Path, strength_model: float | Facts, strength_clip: float | Facts
) -> Inferred:
    """The model and text encoder with a LoRA on top; a LoRA of another family is an error, unused parts a warning.

    At strengths of 0 nothing is read.
    """
    return _with_lora(model, clip, lora_name, strength_model, strength_clip)


def of_lora_by_block(
    model: Facts,
    clip: Facts,
    lora_name: Path,
    strength_model: float | Facts,
    strength_clip: float | Facts,
    block_vector: str | Facts,
) -> Inferred:
    """As `of_lora`; a vector of block weights that cannot be read is an error, one that does not suit a warning."""
    from graphexec.lora.blocks import check_blocks, parse_blocks

    if not isinstance(block_vector, str):
        return of_lora(model, clip, lora_name, strength_model, strength_clip)
    try:
        values = parse_blocks(block_vector).values
    except ModelFileError as error:
        return Inferred((model, clip), (Note(str(error), "block_vector", code="invalid_block_vector"),))

    def odd(coverage: Coverage) -> list[Note]:
        told = check_blocks(values, model["recipe"].family, coverage.unet)
        return [Note(message, "block_vector", "warning", "block_weights_partly_used") for message in told]

    return _with_lora(model, clip, lora_name, strength_model, strength_clip, odd)


def of_lora_by_block_or_none(
    model: Facts,
    clip: Facts,
    lora_name: Path,
    strength_model: float | Facts,
    strength_clip: float | Facts,
    block_vector: str | Facts,
    bypass: bool | Facts,
) -> Inferred:
    """As `of_lora_by_block`, unless it is bypassed or at strengths of 0."""
    if bypass is True or strength_model == strength_clip == 0:
        return Inferred((model, clip))
    return of_lora_by_block(model, clip, lora_name, strength_model, strength_clip, block_vector)


def _with_lora(
    model: Facts,
    clip: Facts,
    lora_name: Path,
    strength_model: float | Facts,
    strength_clip: float | Facts,
    odd: Callable[[Coverage], Sequence[Note]] = lambda coverage: (),
) -> Inferred:
    """Both with a LoRA on top; `odd` is what else to tell of what it covers."""
    from graphexec.diffusion.loras import load_lora

    if strength_model == strength_clip == 0:
        return Inferred((model, clip))
    if "recipe" not in model or "recipe" not in clip:
        return Inferred()
    coverage = load_lora(model["recipe"], clip["recipe"], lora_name, 1.0, 1.0).coverage
    return Inferred((model, clip), (*odd(coverage), *partly_used(coverage.warnings())))


def of_lora_on_model(model: Facts, lora_name: Path, strength_model: float | Facts) -> Inferred:
    """As `of_lora`, for the diffusion model alone."""
    from graphexec.diffusion.loras import load_lora

    if strength_model == 0:
        return Inferred((model,))
    if "recipe" not in model:
        return Inferred()
    loaded = load_lora(model["recipe"], None, lora_name, 1.0, 0.0)
    return Inferred((model,), partly_used(loaded.coverage.warnings()))


def partly_used(warnings: Iterable[str], name: str = "lora_name") -> tuple[Note, ...]:
    """Warnings of a LoRA that changes a model only in part; `name` is the input that it came by."""
    return tuple(Note(message, name, "warning", "lora_partly_used") for message in warnings)


def of_merged_models(model1: Facts, model2: Facts) -> Inferred:
    """The first model with another mixed in; models of different families are an error."""
    return _merged(model1, model2, "model2")


def of_merged_clips(clip1: Facts, clip2: Facts) -> Inferred:
    """The first text encoders with others mixed in; those of different families are an error."""
    return _merged(clip1, clip2, "clip2")


def _merged(one: Facts, two: Facts, name: str) -> Inferred:
    if "recipe" not in one or "recipe" not in two:
        return Inferred((one,))
    try:
        check_families(one["recipe"], two["recipe"])
    except MergeError as error:
        return Inferred((one,), (Note(str(error), name, hint="choose two of one family"),))
    return Inferred((one,))


def of_saved(model: Facts, clip: Facts) -> Inferred:
    """Nothing comes out; text encoders of another family than the model's are an error."""
    if "recipe" not in model or "recipe" not in clip:
        return Inferred()
    try:
        check_encoders(model["recipe"], clip["recipe"])
    except ModelFileError as error:
        return Inferred(notes=(Note(str(error), "clip", hint="choose those that belong to the model"),))
    return Inferred()


def of_model(model: Facts) -> Inferred:
    """What changes a model's weights alone."""
    return Inferred((model,))


def of_trained(model: Facts, algorithm: str | Facts) -> Inferred:
    """A model with a LoRA of its own; an algorithm that cannot be trained is an error."""
    if algorithm != "OFT":
        return Inferred((model, {}, {}, {}))
    message = "OFT cannot be trained here"
    return Inferred(notes=(Note(message, "algorithm", code="untrainable", hint="choose LoRA, LoHa or LoKr"),))
