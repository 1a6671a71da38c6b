"""What sets the model families apart. Importing this does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphexec.diffusion.types import Clip, EncoderKind, Family, Model
from graphexec.errors import ModelFileError

__all__ = ["FAMILIES", "SIZE_WIDTH", "FamilyFacts", "check_encoders"]

SIZE_WIDTH = 256
"""Channels in which SDXL is told each number of a picture's size."""


@dataclass(frozen=True, slots=True)
class FamilyFacts:
    """A family: latents are multiplied by `latent_scale` before they are noised; `last_layer` as in `Clip`.

    `size_numbers` is how many numbers of a picture's size (and score) the model is told beside the pooled prompt.
    """

    title: str
    latent_scale: float
    encoders: tuple[EncoderKind, ...]
    context_width: int
    last_layer: int
    size_numbers: int = 0


FAMILIES: Mapping[Family, FamilyFacts] = {
    "sd1": FamilyFacts("SD 1.x", 0.18215, ("clip_l",), 768, -1),
    "sd2": FamilyFacts("SD 2.x", 0.18215, ("clip_h",), 1024, -2),
    "sdxl": FamilyFacts("SDXL", 0.13025, ("clip_l", "clip_g"), 2048, -2, 6),
    "sdxl_refiner": FamilyFacts("the SDXL refiner", 0.13025, ("clip_g",), 1280, -2, 5),
}


def check_encoders(model: Model, clip: Clip) -> None:
    """Raise `ModelFileError` unless the text encoders are those of the model's family."""
    if clip.family != model.family:
        raise ModelFileError(
            f"the model is {FAMILIES[model.family].title}, its text encoders are those of {FAMILIES[clip.family].title}"
        )
