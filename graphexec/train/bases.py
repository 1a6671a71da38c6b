"""Which base models LoRAs are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphexec.diffusion.checkpoint import CheckpointLayout
from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.types import LATENT_CHANNELS, Family
from graphexec.train.config import ModelSource, TrainFamily
from graphexec.train.faults import TrainingError

__all__ = ["TRAINED", "check_base", "text_layer", "unfit"]

TRAINED: Mapping[Family, TrainFamily] = {"sd1": "sd15", "sd2": "sd2", "sdxl": "sdxl"}
"""The families that are trained, and what configurations call them."""


def unfit(layout: CheckpointLayout, *, vae_elsewhere: bool) -> Iterator[tuple[str, str]]:
    """Why no LoRA can be trained on a base, and what to do; nothing if one can.

    A LoRA is trained on latents and captions, so that the base has to have what makes them.
    """
    sampling, channels = layout.sampling, layout.unet.in_channels
    if layout.family not in TRAINED:
        yield "is a refiner, of which no LoRAs are trained", "use a base model"
        return
    if not layout.encoders:
        hint = "use a whole checkpoint: UNet, text encoder and VAE in one file"
        yield "has no text encoder, which training needs", hint
    if layout.vae is None and not vae_elsewhere:
        yield "has no VAE, which training needs", "name one of its own with vae"
    if channels != LATENT_CHANNELS:
        hint = f"use a model of {LATENT_CHANNELS}, and apply the LoRA to this one"
        yield f"takes {channels} channels, as models for inpainting or editing do", hint
    if sampling.levels != "discrete" or sampling.prediction not in ("eps", "v"):
        hint = "use a model that predicts noise (eps) or v on discrete timesteps"
        yield f"predicts {sampling.prediction} on {sampling.levels} levels of noise, which cannot be trained", hint


def check_base(source: ModelSource, layout: CheckpointLayout) -> None:
    """Raise `TrainingError` for a base on which no LoRA can be trained."""
    for what, hint in unfit(layout, vae_elsewhere=source.vae is not None):
        raise TrainingError(f"{source.path} {what}: {hint}")


def text_layer(clip_skip: int, layout: CheckpointLayout) -> int:
    """Whose output of the text encoders' layers is taken, from the end. Raises `TrainingError` if there is none."""
    usual = FAMILIES[layout.family].last_layer
    fewest = min(encoder.layout.layers for encoder in layout.encoders)
    if layout.family == "sdxl":
        if clip_skip not in (1, 2):
            raise TrainingError(f"clip_skip {clip_skip}: SDXL always takes the last layer but one; leave it out")
        return usual
    if not 1 <= clip_skip <= fewest + usual + 1:
        raise TrainingError(f"clip_skip {clip_skip}: it must be from 1 to {fewest + usual + 1} for this model")
    return usual - (clip_skip - 1)
