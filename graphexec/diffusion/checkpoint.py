"""Files of weights opened as recipes: what a checkpoint holds, told by the names and shapes in its header.

No weight is read here, and torch is not imported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from graphexec.diffusion.models.layout import (
    ClipLayout,
    UNetLayout,
    VaeLayout,
    clip_layout,
    unet_layout,
    vae_layout,
)
from graphexec.diffusion.types import Clip, Family, Model, TextEncoder, Vae, WeightsFile
from graphexec.errors import ModelFileError
from graphexec.lora.header import Shapes, in_file, read_header, strip_prefix

__all__ = ["CheckpointLayout", "checkpoint_facts", "open_checkpoint", "open_vae", "read_layout"]

UNET = "model.diffusion_model."
TEXT = ("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.")
VAE = ("first_stage_model.", "")

UNET_MARK = "input_blocks.0.0.weight"
TEXT_MARK = "embeddings.token_embedding.weight"
VAE_MARK = "decoder.conv_in.weight"

SD1 = "a Stable Diffusion 1.x checkpoint"

OTHERS = (
    ("conditioner.embedders.", "an SDXL checkpoint"),
    ("cond_stage_model.model.", "an SD 2.x checkpoint"),
    ("control_model.", "a ControlNet"),
    ("lora_unet_", "a LoRA"),
    ("lora_te", "a LoRA"),
    ("double_blocks.", "a Flux model"),
    ("down_blocks.", "a model in the layout of diffusers"),
    ("decoder.up_blocks.", "an autoencoder in the layout of diffusers"),
)


@dataclass(frozen=True, slots=True)
class CheckpointLayout:
    """The three networks of a checkpoint: their layouts, and the prefixes of their weights' names."""

    family: Family
    unet: UNetLayout
    text: ClipLayout
    vae: VaeLayout
    unet_prefix: str
    text_prefix: str
    vae_prefix: str
    parameters: int


def open_checkpoint(path: Path) -> tuple[Model, Clip, Vae]:
    """The model, text encoder and autoencoder of a single-file checkpoint.

    Raises `ModelFileError` if the file is damaged, not a checkpoint, or of a layout that is not known.
    """
    file = WeightsFile.of(path)
    layout = read_layout(path)
    return (
        Model(file, layout.family, layout.unet_prefix),
        Clip((TextEncoder("clip_l", file, layout.text_prefix),), layout.family),
        Vae(file, layout.vae_prefix),
    )


def open_vae(path: Path) -> Vae:
    """The autoencoder of a file of its own, or of a checkpoint."""
    file = WeightsFile.of(path)
    shapes = read_header(path).shapes
    with in_file(path):
        prefix = _prefix(shapes, VAE, VAE_MARK, "an autoencoder")
        vae_layout(strip_prefix(shapes, prefix))
    return Vae(file, prefix)


def checkpoint_facts(path: Path) -> dict[str, int | str | None]:
    """What is known of a checkpoint without reading a weight; `bytes` is the size of its weights in float32."""
    layout = read_layout(path)
    return {
        "family": layout.family,
        "bytes": 4 * layout.parameters,
        "context_width": layout.unet.context_width,
        "text_width": layout.text.width,
        "latent_channels": layout.vae.latent_channels,
        "downscale": layout.vae.downscale,
    }


def read_layout(path: Path) -> CheckpointLayout:
    """The layout of the checkpoint at `path`; `ModelFileError` says which names were looked for."""
    shapes = read_header(path).shapes
    with in_file(path):
        unet = _prefix(shapes, (UNET,), UNET_MARK, SD1)
        text = _prefix(shapes, TEXT, TEXT_MARK, SD1)
        vae = _prefix(shapes, VAE[:1], VAE_MARK, SD1)
        layout = CheckpointLayout(
            family="sd1",
            unet=unet_layout(strip_prefix(shapes, unet)),
            text=clip_layout(strip_prefix(shapes, text)),
            vae=vae_layout(strip_prefix(shapes, vae)),
            unet_prefix=unet,
            text_prefix=text,
            vae_prefix=vae,
            parameters=_parameters(shapes, (unet, text, vae)),
        )
        _check_fit(layout)
    return layout


def _prefix(shapes: Shapes, prefixes: tuple[str, ...], mark: str, kind: str) -> str:
    for prefix in prefixes:
        if prefix + mark in shapes:
            return prefix
    looked_for = " or ".join(repr(prefix + mark) for prefix in prefixes)
    other = next((what for start, what in OTHERS if any(name.startswith(start) for name in shapes)), None)
    looks = f"it looks like {other}" if other else f"its names begin with {_sample(shapes)}"
    raise ModelFileError(f"this is not {kind}: there is no {looked_for} in it; {looks}")


def _sample(shapes: Shapes) -> str:
    return ", ".join(repr(name) for name in list(shapes)[:3]) or "nothing: the file is empty"


def _parameters(shapes: Shapes, prefixes: tuple[str, ...]) -> int:
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(prefixes))


def _check_fit(layout: CheckpointLayout) -> None:
    """What the three networks hand each other must fit."""
    unet, latent = layout.unet, layout.vae.latent_channels
    if unet.in_channels != latent or unet.out_channels != latent:
        what = "an inpainting or editing model" if unet.in_channels > latent else "of another kind"
        raise ModelFileError(
            f"the model takes {unet.in_channels} channels and gives {unet.out_channels}, its latents have"
            f" {latent}: it is {what}, which cannot be run yet"
        )
    if unet.context_width not in (None, layout.text.width):
        raise ModelFileError(
            f"the model expects text embeddings {unet.context_width} wide, the text encoder gives {layout.text.width}"
        )
