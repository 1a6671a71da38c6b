"""Nodes that apply LoRAs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from graphexec.diffusion.types import Clip, Model
from graphexec.node.decorator import node
from graphexec.node.fields import Name, Range, Seed, Strength, Text, Warn, Widget
from graphexec_nodes import facts
from graphexec_nodes.sockets import LoraFile, StrictLora

if TYPE_CHECKING:
    from graphexec.lora.blocks import BlockWeights

Number = Annotated[float, Range(ge=-10.0, le=10.0), Widget(step=0.01)]


@node("LoraLoader", category="loaders", display_name="Load LoRA", infer=facts.of_lora)
def apply_lora(
    model: Model,
    clip: Clip,
    lora_name: LoraFile,
    strength_model: Strength = 1.0,
    strength_clip: Strength = 1.0,
    *,
    warn: Warn,
    strict_lora: StrictLora,
) -> tuple[Model, Clip]:
    """Apply a LoRA to a diffusion model and its text encoder.

    Args:
        model: the diffusion model.
        clip: the text encoder.
        lora_name: a file of the loras folder.
        strength_model: how strongly the diffusion model changes; negative turns the effect round.
        strength_clip: how strongly the text encoder changes.
    """
    from graphexec.diffusion.loras import load_lora, unused

    if strength_model == strength_clip == 0:
        return model, clip
    loaded = load_lora(model, clip, lora_name, strength_model, strength_clip)
    for warning in unused(loaded.coverage, lora_name, strict=strict_lora):
        warn(warning)
    return loaded.model or model, loaded.clip or clip


@node("LoraLoaderModelOnly", category="loaders", infer=facts.of_lora_on_model)
def apply_lora_to_model(
    model: Model, lora_name: LoraFile, strength_model: Strength = 1.0, *, warn: Warn, strict_lora: StrictLora
) -> Model:
    """Apply a LoRA to a diffusion model and leave the text encoder alone.

    Args:
        model: the diffusion model.
        lora_name: a file of the loras folder.
        strength_model: how strongly the diffusion model changes.
    """
    from graphexec.diffusion.loras import load_lora, unused

    if strength_model == 0:
        return model
    loaded = load_lora(model, None, lora_name, strength_model, 0.0)
    for warning in unused(loaded.coverage, lora_name, strict=strict_lora):
        warn(warning)
    return loaded.model or model


@node("LoraCompatibility", category="loaders", infer=facts.of_model_and_clip)
def compute_loras_as_comfyui(model: Model, clip: Clip) -> tuple[Model, Clip]:
    """Compute the LoRAs loaded so far as ComfyUI does where it is wrong, to make a picture of its again.

    That is DoRA with a magnitude for each row (output), which trainers write by default: ComfyUI 0.3.64 divides by the
    norm of the weight without the LoRA's change instead of with it. Other LoRAs, later ones and hooks stay as they are.

    Args:
        model: the diffusion model with LoRAs.
        clip: the text encoder with LoRAs.
    """
    from graphexec.diffusion.loras import as_comfyui

    return as_comfyui(model), as_comfyui(clip)


@node(
    "LoraLoaderBlockWeight",
    category="loaders",
    display_name="Load LoRA (Block Weight)",
    infer=facts.of_lora_by_block,
)
def apply_lora_by_block(
    model: Model,
    clip: Clip,
    lora_name: LoraFile,
    strength_model: Strength = 1.0,
    strength_clip: Strength = 1.0,
    inverse: bool = False,
    seed: Seed = 0,
    A: Strength = 1.0,
    B: Strength = 1.0,
    block_vector: Text = "ALL",
    *,
    warn: Warn,
    strict_lora: StrictLora,
) -> tuple[Model, Clip, Annotated[str, Name("populated_vector")]]:
    """Apply a LoRA with a strength for each block of the diffusion model, and give the numbers that were used.

    A value is for the same block of the model whatever blocks the LoRA has.

    Args:
        model: the diffusion model.
        clip: the text encoder.
        lora_name: a file of the loras folder.
        strength_model: how strongly the diffusion model changes.
        strength_clip: how strongly the text encoder changes.
        inverse: take 1 minus each value.
        seed: what random values are drawn from.
        A: the value that A in the vector stands for; a is half of it.
        B: the value that B in the vector stands for; b is half of it.
        block_vector: 12, 17, 20, 21, 25, 26 or 27 values with commas between them, or the name of a preset.
    """
    from graphexec.lora.blocks import parse_blocks

    weights = parse_blocks(block_vector, A, B, seed, inverse=inverse)
    return _by_block(model, clip, lora_name, strength_model, strength_clip, weights, warn, strict_lora)


@node(
    "LoraLoaderBlockWeight //Inspire",
    category="InspirePack/LoraBlockWeight",
    display_name="Lora Loader (Block Weight)",
    infer=facts.of_lora_by_block_or_none,
)
def apply_lora_by_block_of_inspire(
    model: Model,
    clip: Clip,
    category_filter: str = "All",
    *,
    lora_name: LoraFile,
    strength_model: Number = 1.0,
    strength_clip: Number = 1.0,
    inverse: bool = False,
    seed: Seed = 0,
    A: Number = 4.0,
    B: Number = 1.0,
    preset: str = "Preset",
    block_vector: Text = "1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1",
    bypass: bool = False,
    warn: Warn,
    strict_lora: StrictLora,
) -> tuple[Annotated[Model, Name("model")], Annotated[Clip, Name("clip")], Annotated[str, Name("populated_vector")]]:
    """LoraLoaderBlockWeight with the inputs that the Inspire pack's node has.

    Its values go to the blocks that the LoRA has, in their order; here a value is for the same block whatever the LoRA
    has, which is the same for the usual LoRAs. R and U draw other numbers.

    Args:
        model: the diffusion model.
        clip: the text encoder.
        category_filter: what an editor shows of the list of files; it changes nothing.
        lora_name: a file of the loras folder.
        strength_model: how strongly the diffusion model changes.
        strength_clip: how strongly the text encoder changes.
        inverse: take 1 minus each value.
        seed: what random values are drawn from.
        A: the value that A in the vector stands for; a is half of it.
        B: the value that B in the vector stands for; b is half of it.
        preset: what an editor fills the vector from; it changes nothing.
        block_vector: 12, 17, 20, 21, 25, 26 or 27 values with commas between them, or the name of a preset.
        bypass: leave model and text encoder as they are.
    """
    from graphexec.lora.blocks import parse_blocks

    if bypass or strength_model == strength_clip == 0:
        return model, clip, ""
    weights = parse_blocks(block_vector, A, B, seed, inverse=inverse)
    return _by_block(model, clip, lora_name, strength_model, strength_clip, weights, warn, strict_lora)


def _by_block(
    model: Model,
    clip: Clip,
    path: Path,
    strength_model: float,
    strength_clip: float,
    weights: BlockWeights,
    warn: Warn,
    strict_lora: bool,
) -> tuple[Model, Clip, str]:
    from graphexec.diffusion.loras import load_lora_by_block, unused

    used = ",".join(f"{value:g}" for value in weights.values)
    if strength_model == strength_clip == 0:
        return model, clip, used
    loaded, odd = load_lora_by_block(model, clip, path, strength_model, strength_clip, weights)
    for warning in (*odd, *unused(loaded.coverage, path, strict=strict_lora)):
        warn(warning)
    return loaded.model or model, loaded.clip or clip, used
