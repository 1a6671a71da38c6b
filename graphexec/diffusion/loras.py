"""Puts LoRAs on recipes of models; no weight is read, and torch is not imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graphexec.diffusion.types import Clip, Model
from graphexec.lora.coverage import Coverage, lora_coverage
from graphexec.lora.header import in_file, read_header, strip_prefix

__all__ = ["Loaded", "load_lora"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Recipes with a LoRA on top, and how much of its file they use."""

    model: Model | None
    clip: Clip | None
    coverage: Coverage


def load_lora(
    model: Model | None, clip: Clip | None, path: Path, strength_model: float, strength_clip: float
) -> Loaded:
    """Put a LoRA on a model and a text encoder (None leaves one out); weights are not read yet.

    Raises `ModelFileError` if the file is no LoRA, is for another family, or changes nothing.
    """
    unet, text, header = _shapes(model), _shapes(clip), read_header(path)
    with in_file(path):
        coverage = lora_coverage(unet, text, header)
    return Loaded(model and model.patched(path, strength_model), clip and clip.patched(path, strength_clip), coverage)


def _shapes(recipe: Model | Clip | None) -> dict[str, tuple[int, ...]] | None:
    return None if recipe is None else strip_prefix(read_header(recipe.file.path).shapes, recipe.prefix)
