"""Puts LoRAs on recipes of models; no weight is read, and torch is not imported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from graphexec.diffusion.loraheader import lora_header
from graphexec.diffusion.shapes import network_shapes
from graphexec.diffusion.sources import LoraModel, LoraSource, WeightsFile
from graphexec.diffusion.types import Clip, LoraPatch, MergePatch, Model, Patch, TextEncoder
from graphexec.errors import ModelFileError
from graphexec.lora.blocks import Blocks, BlockWeights, check_blocks
from graphexec.lora.coverage import Coverage, lora_coverage
from graphexec.lora.header import in_file

__all__ = ["Loaded", "as_comfyui", "coverage_in", "load_lora", "load_lora_by_block", "unused"]

RecipeT = TypeVar("RecipeT", bound=Model | Clip)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Recipes with a LoRA on top, and how much of its file they use."""

    model: Model | None
    clip: Clip | None
    coverage: Coverage


def load_lora(
    model: Model | None,
    clip: Clip | None,
    lora: Path | LoraModel,
    strength_model: float,
    strength_clip: float,
    blocks: Blocks = (),
) -> Loaded:
    """Put a LoRA on a model and a text encoder (None leaves one out); weights are not read yet.

    `blocks` are factors for blocks of the UNet.

    Raises `ModelFileError` if the file is no LoRA, is for another family, or changes nothing.
    """
    source = lora if isinstance(lora, LoraModel) else WeightsFile.of(lora)
    coverage = coverage_in(model, clip, source)
    if not coverage.changes:
        raise ModelFileError(
            f"{source.path}: this LoRA changes nothing here: all of it is for a network that this node leaves alone;"
            " LoraLoader changes both the diffusion model and the text encoder"
        )
    patched = model and model.patched(lora, strength_model, blocks)
    return Loaded(patched, clip and clip.patched(lora, strength_clip), coverage)


def coverage_in(model: Model | None, clip: Clip | None, lora: LoraSource) -> Coverage:
    """What a LoRA changes in a model and a text encoder (None leaves one out), whatever else is on them.

    Raises `ModelFileError` if the file is no LoRA, is for another family, or has nothing for any network.
    """
    bare, texts = model and replace(model, patches=(), options=()), clip.encoders if clip else None
    return _remembered(bare, texts, lora) if isinstance(lora, WeightsFile) else _coverage(bare, texts, lora)


def load_lora_by_block(
    model: Model, clip: Clip, path: Path, strength_model: float, strength_clip: float, weights: BlockWeights
) -> tuple[Loaded, tuple[str, ...]]:
    """As `load_lora`, with strengths by block; and what is odd about those, to tell the user."""
    loaded = load_lora(model, clip, path, strength_model, strength_clip * weights.base, weights.blocks)
    return loaded, check_blocks(weights.values, model.family, loaded.coverage.unet)


def unused(coverage: Coverage, lora: Path, *, strict: bool) -> tuple[str, ...]:
    """What to tell the user of a LoRA that is not used as a whole; `strict` raises `ModelFileError` instead."""
    told = coverage.warnings()
    if strict and told:
        raise ModelFileError(f"{lora}: {'; '.join(told)}; this is an error with --strict-lora")
    return told


def as_comfyui(recipe: RecipeT) -> RecipeT:
    """The recipe with its LoRAs, and those of what is merged into it, computed as ComfyUI does."""
    return replace(recipe, patches=tuple(_as_comfyui(patch) for patch in recipe.patches))


def _as_comfyui(patch: Patch) -> Patch:
    match patch:
        case LoraPatch():
            return replace(patch, comfy=True)
        case MergePatch():
            return replace(patch, other=as_comfyui(patch.other))
        case _:
            return patch


# A stack asks for each LoRA when it is checked and when it runs; the files are named as they are. A LoRA that lies in
# memory would stay there for it.
@lru_cache(maxsize=64)
def _remembered(model: Model | None, texts: tuple[TextEncoder, ...] | None, lora: WeightsFile) -> Coverage:
    return _coverage(model, texts, lora)


def _coverage(model: Model | None, texts: tuple[TextEncoder, ...] | None, lora: LoraSource) -> Coverage:
    encoders = None if texts is None else {encoder.kind: network_shapes(encoder) for encoder in texts}
    header = lora_header(lora)
    with in_file(lora.path):
        return lora_coverage(model and network_shapes(model), encoders, header)
