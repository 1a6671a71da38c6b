"""Nodes that apply LoRAs."""

from __future__ import annotations

from graphexec.diffusion.types import Clip, Model
from graphexec.node.decorator import node
from graphexec.node.fields import Strength
from graphexec_nodes.sockets import LoraFile


@node("LoraLoader", category="loaders", display_name="Load LoRA")
def apply_lora(
    model: Model,
    clip: Clip,
    lora_name: LoraFile,
    strength_model: Strength = 1.0,
    strength_clip: Strength = 1.0,
) -> tuple[Model, Clip]:
    """Apply a LoRA to a diffusion model and its text encoder.

    Args:
        model: the diffusion model.
        clip: the text encoder.
        lora_name: a file of the loras folder.
        strength_model: how strongly the diffusion model changes; negative turns the effect round.
        strength_clip: how strongly the text encoder changes.
    """
    return model.patched(lora_name, strength_model), clip.patched(lora_name, strength_clip)


@node("LoraLoaderModelOnly", category="loaders")
def apply_lora_to_model(model: Model, lora_name: LoraFile, strength_model: Strength = 1.0) -> Model:
    """Apply a LoRA to a diffusion model and leave the text encoder alone.

    Args:
        model: the diffusion model.
        lora_name: a file of the loras folder.
        strength_model: how strongly the diffusion model changes.
    """
    return model.patched(lora_name, strength_model)
