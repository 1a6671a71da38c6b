"""Nodes that apply LoRAs."""

from __future__ import annotations

from graphexec.diffusion.types import Clip, Model
from graphexec.node.decorator import node
from graphexec.node.fields import Strength, Warn
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
