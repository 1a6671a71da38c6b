"""What a file of weights looks like, told by the names in it: for messages about files that cannot be used."""

from __future__ import annotations

from graphexec.errors import ModelFileError
from graphexec.lora.header import Shapes

__all__ = ["NO_TEXT", "NO_VAE", "find_prefix", "looks_like"]

NO_TEXT = (
    "there is no text encoder of a known kind in this file; open one of its own with CLIPLoader (DualCLIPLoader for"
    " SDXL)"
)
NO_VAE = "there is no VAE in this file; open one of its own with VAELoader"
"""Of a checkpoint that lacks a part, once that is to be used."""

_OTHERS: tuple[tuple[str, str], ...] = (
    ("lora_unet_", "a LoRA"),
    ("lora_te", "a LoRA"),
    (".lora_A.", "a LoRA"),
    (".lora_down.", "a LoRA"),
    (".time_stack.", "a video model (SVD)"),
    ("noise_augmentor.", "an unCLIP checkpoint"),
    ("edm_mean", "a Playground 2.5 checkpoint"),
    ("control_model.", "a ControlNet"),
    ("controlnet_", "a ControlNet in the layout of diffusers"),
    ("double_blocks.", "a Flux model"),
    ("double_layers.", "an AuraFlow model"),
    ("joint_blocks.", "an SD 3 model"),
    ("clip_txt_mapper.", "a Stable Cascade model"),
    ("clip_mapper.", "a Stable Cascade model"),
    ("mlp_t5.", "a HunyuanDiT model"),
    ("adaln_single.", "a PixArt model"),
    ("cap_embedder.", "a Lumina model"),
    ("conditioner.embedders.1.", "an SDXL checkpoint"),
    ("conditioner.embedders.0.model.", "a checkpoint of the SDXL refiner or of SD 2.x"),
    ("cond_stage_model.model.", "an SD 2.x checkpoint"),
    ("cond_stage_model.transformer.", "an SD 1.x checkpoint"),
    ("conditioner.", "a checkpoint in the layout of SDXL"),
    ("model.diffusion_model.input_blocks.", "a checkpoint of latent diffusion without text encoder"),
    ("input_blocks.", "a UNet alone"),
    ("decoder.up_blocks.", "an autoencoder in the layout of diffusers"),
    ("down_blocks.", "a UNet in the layout of diffusers"),
    ("decoder.up.", "an autoencoder"),
    ("taesd_", "a TAESD autoencoder"),
    ("transformer.resblocks.", "a text encoder of OpenCLIP"),
    ("vision_model.", "a CLIP vision model"),
    ("text_model.", "a text encoder"),
    ("encoder.block.", "a T5 text encoder"),
    ("emb_params", "a textual inversion embedding"),
    ("clip_g", "a textual inversion embedding"),
    ("string_to_param", "a textual inversion embedding"),
)
"""A part of a name, and what the file is that has it; the first that fits counts."""

_OPENED_BY = {
    "a LoRA": "LoraLoader opens it, from the loras folder",
    "a ControlNet": "ControlNetLoader opens it, from the controlnet folder",
    "a ControlNet in the layout of diffusers": "ControlNetLoader opens it, from the controlnet folder",
    "a UNet alone": "UNETLoader opens it, from the diffusion_models folder",
    "a UNet in the layout of diffusers": "UNETLoader opens it, from the diffusion_models folder",
    "an autoencoder": "VAELoader opens it, from the vae folder",
    "an autoencoder in the layout of diffusers": "VAELoader opens it, from the vae folder",
    "a text encoder": "CLIPLoader opens it, from the text_encoders folder",
    "a text encoder of OpenCLIP": "CLIPLoader opens it, from the text_encoders folder",
    "a textual inversion embedding": "a prompt names it, as embedding:NAME, from the embeddings folder",
}
"""The node for what no checkpoint is."""


def looks_like(shapes: Shapes) -> str:
    """What the file looks like, and what opens that, to follow "this is not …"."""
    other = next((what for part, what in _OTHERS if any(part in name for name in shapes)), None)
    if other:
        return f"it looks like {other}" + (f" ({_OPENED_BY[other]})" if other in _OPENED_BY else "")
    sample = ", ".join(repr(name) for name in list(shapes)[:3])
    return f"its names begin with {sample}" if sample else "the file is empty"


def find_prefix(shapes: Shapes, candidates: tuple[tuple[str, str], ...], kind: str) -> str:
    """The first prefix below which its mark, a name that such a network has, is found.

    `candidates` are pairs of prefix and mark. Raises `ModelFileError`, which says what was looked for and what the
    file looks like instead of `kind`.
    """
    for prefix, mark in candidates:
        if prefix + mark in shapes:
            return prefix
    looked_for = " or ".join(repr(prefix + mark) for prefix, mark in candidates)
    raise ModelFileError(f"this is not {kind}: there is no {looked_for} in it; {looks_like(shapes)}")
