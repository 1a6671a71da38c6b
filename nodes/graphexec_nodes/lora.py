"""Nodes that apply LoRAs."""

from __future__ import annotations

from typing import Annotated

from graphexec.diffusion.types import Clip, Model
from graphexec.node.decorator import node
from graphexec.node.fields import Name, Seed, Strength, Text, Warn
from graphexec_nodes import facts
from graphexec_nodes.sockets import LoraFile


@node("LoraLoader", category="loaders", display_name="Load LoRA", infer=facts.of_lora)
def apply_lora(
    model: Model,
    clip: Clip,
    lora_name: LoraFile,
    strength_model: Strength = 1.0,
    strength_clip: Strength = 1.0,
    *,
    warn: Warn,
) -> tuple[Model, Clip]:
    """Apply a LoRA to a diffusion model and its text encoder.

    Args:
        model: the diffusion model.
        clip: the text encoder.
        lora_name: a file of the loras folder.
        strength_model: how strongly the diffusion model changes; negative turns the effect round.
        strength_clip: how strongly the text encoder changes.
    """
    from graphexec.diffusion.loras import load_lora

    loaded = load_lora(model, clip, lora_name, strength_model, strength_clip)
    for warning in loaded.coverage.warnings():
        warn(warning)
    return loaded.model or model, loaded.clip or clip


@node("LoraLoaderModelOnly", category="loaders", infer=facts.of_lora_on_model)
def apply_lora_to_model(model: Model, lora_name: LoraFile, strength_model: Strength = 1.0, *, warn: Warn) -> Model:
    """Apply a LoRA to a diffusion model and leave the text encoder alone.

    Args:
        model: the diffusion model.
        lora_name: a file of the loras folder.
        strength_model: how strongly the diffusion model changes.
    """
    from graphexec.diffusion.loras import load_lora

    loaded = load_lora(model, None, lora_name, strength_model, 0.0)
    for warning in loaded.coverage.warnings():
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
    infer=facts.of_lora,
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
    from graphexec.diffusion.loras import load_lora
    from graphexec.lora.blocks import inert_blocks, parse_blocks

    weights = parse_blocks(block_vector, A, B, seed, inverse=inverse)
    loaded = load_lora(model, clip, lora_name, strength_model, strength_clip * weights.base, weights.blocks)
    inert = inert_blocks(weights.values, loaded.coverage.unet)
    if inert:
        warn(f"block weights that change nothing, since the LoRA has nothing there: {', '.join(inert)}")
    for warning in loaded.coverage.warnings():
        warn(warning)
    return loaded.model or model, loaded.clip or clip, ",".join(f"{value:g}" for value in weights.values)
