"""Checkpoints opened as recipes: what a file holds, told by the names and shapes in its header.

No weight is read here but one small bias of SD 2.x models, and torch is not imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from graphexec.diffusion.families import FAMILIES, SIZE_WIDTH
from graphexec.diffusion.listing import Listing, list_file
from graphexec.diffusion.models.layout import (
    ClipLayout,
    UNetLayout,
    VaeLayout,
    clip_layout,
    unet_layout,
    vae_layout,
)
from graphexec.diffusion.models.names import Parts, named_shapes, text_parts, unet_parts, vae_parts
from graphexec.diffusion.prediction import sampling_of
from graphexec.diffusion.recognise import find_prefix
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import (
    DOWNSCALE,
    LATENT_CHANNELS,
    Clip,
    EncoderKind,
    Family,
    Model,
    Sampling,
    TextEncoder,
    Vae,
)
from graphexec.errors import ModelFileError
from graphexec.lora.header import Shape, Shapes, in_file, strip_prefix

__all__ = [
    "CheckpointLayout",
    "EncoderPlace",
    "checkpoint_facts",
    "family_of",
    "open_checkpoint",
    "open_vae",
    "read_layout",
    "read_unet",
]

UNET_PREFIX = "model.diffusion_model."
UNET = ((UNET_PREFIX, "input_blocks.0.0.weight"),)
VAE = (("first_stage_model.", "decoder.conv_in.weight"),)
VAE_ALONE = (*VAE, ("", "decoder.conv_in.weight"))

GUIDED = ("time_embed.cond_proj.weight", "time_embedding.cond_proj.weight")
"""By what a UNet is told the guidance (Luo et al. 2023, https://arxiv.org/abs/2310.04378)."""

HF_MARK, OPENCLIP_MARK = "embeddings.token_embedding.weight", "token_embedding.weight"
ENCODERS: Mapping[Family, tuple[tuple[tuple[str, str], ...], ...]] = {
    "sdxl": (
        (("conditioner.embedders.0.transformer.text_model.", HF_MARK),),
        (("conditioner.embedders.1.model.", OPENCLIP_MARK),),
    ),
    "sdxl_refiner": ((("conditioner.embedders.0.model.", OPENCLIP_MARK),),),
    "sd2": ((("cond_stage_model.model.", OPENCLIP_MARK), ("conditioner.embedders.0.model.", OPENCLIP_MARK)),),
    "sd1": ((("cond_stage_model.transformer.text_model.", HF_MARK), ("cond_stage_model.transformer.", HF_MARK)),),
}
"""Prefixes that each family's text encoders may have, with names that tell them; two families share one."""


@dataclass(frozen=True, slots=True)
class EncoderPlace:
    """One text encoder of a checkpoint: what it is, and the prefix of its weights' names."""

    kind: EncoderKind
    prefix: str
    layout: ClipLayout


@dataclass(frozen=True, slots=True)
class CheckpointLayout:
    """The networks of a checkpoint: their layouts, and the prefixes of their weights' names.

    It may have no text encoders or no VAE, which lie in files of their own then.
    """

    family: Family
    sampling: Sampling
    unet: UNetLayout
    encoders: tuple[EncoderPlace, ...]
    vae: VaeLayout | None
    unet_prefix: str
    vae_prefix: str
    parameters: int

    @property
    def text_width(self) -> int:
        """Channels of the text embedding that the encoders give together."""
        return sum(encoder.layout.width for encoder in self.encoders)

    @property
    def downscale(self) -> int:
        """Pixels along a side of a latent's cell."""
        return self.vae.downscale if self.vae else DOWNSCALE


def open_checkpoint(path: Path, *, allow_pickle: bool = False) -> tuple[Model, Clip, Vae]:
    """The model, text encoders and autoencoder of a single-file checkpoint.

    Of a part that the file does not have the recipe names the place where it would be, and fails when it is used.

    Raises `ModelFileError` if the file is damaged, not a checkpoint, or of a layout that is not known; or if it is
    pickled, unless that is allowed.
    """
    file = WeightsFile.of(path)
    layout = read_layout(path, allow_pickle=allow_pickle)
    kinds, places = FAMILIES[layout.family].encoders, ENCODERS[layout.family]
    prefixes = [encoder.prefix for encoder in layout.encoders] or [candidates[0][0] for candidates in places]
    encoders = (TextEncoder(kind, file, prefix) for kind, prefix in zip(kinds, prefixes, strict=True))
    return (
        Model(file, layout.family, layout.unet_prefix, sampling=layout.sampling),
        Clip(tuple(encoders), layout.family),
        Vae(file, layout.vae_prefix),
    )


def open_vae(path: Path, *, allow_pickle: bool = False) -> Vae:
    """The autoencoder of a file of its own (named as in latent diffusion or in diffusers), or of a checkpoint."""
    file = WeightsFile.of(path)
    shapes = list_file(path, allow_pickle=allow_pickle).shapes
    with in_file(path):
        prefix = find_prefix(shapes, VAE_ALONE, "an autoencoder")
        vae_layout(_named(shapes, prefix, vae_parts))
    return Vae(file, prefix)


def checkpoint_facts(path: Path) -> dict[str, int | str | None]:
    """What is known of a checkpoint without loading it; `bytes` is the size of its weights in float32.

    `text_width` and `latent_channels` are None where it has no text encoders or no VAE.
    """
    layout = read_layout(path)
    return {
        "family": layout.family,
        "prediction": layout.sampling.prediction,
        "bytes": 4 * layout.parameters,
        "context_width": layout.unet.context_width,
        "text_width": layout.text_width or None,
        "latent_channels": layout.vae.latent_channels if layout.vae else None,
        "downscale": layout.downscale,
    }


def read_layout(path: Path, *, allow_pickle: bool = False) -> CheckpointLayout:
    """The layout of the checkpoint at `path`; `ModelFileError` says which names were looked for."""
    listing = list_file(path, allow_pickle=allow_pickle)
    with in_file(path):
        return _layout(listing)


def read_unet(listing: Listing, prefix: str, families: Sequence[Family] = ()) -> tuple[Family, UNetLayout, Sampling]:
    """The UNet below a prefix: its family, its layout, what it predicts.

    Its shape tells the family where its text encoders, which are of one of `families`, do not. Raises `ModelFileError`
    for a UNet that computes otherwise.
    """
    stored = strip_prefix(listing.shapes, prefix)
    guided = next((name for name in GUIDED if name in stored), None)
    if guided is not None:
        raise ModelFileError(
            f"this UNet is told the guidance as a number ({prefix + guided!r} is in it), as models distilled by latent"
            " consistency are, which is not supported; put the LCM LoRA of its base model on that instead"
        )
    parts = unet_parts(stored)
    unet = unet_layout(named_shapes(stored, parts))
    alike = family_of(unet)
    family = alike if alike in families or not families else families[0]
    return family, unet, sampling_of(listing, family, unet, parts, prefix)


def family_of(unet: UNetLayout) -> Family:
    """The family of a UNet that comes without text encoders."""
    if unet.vector_width is None:
        linear = any(layer.linear for layer in unet.attention_layers)
        return "sd2" if linear else "sd1"
    pooled = unet.vector_width - SIZE_WIDTH * FAMILIES["sdxl_refiner"].size_numbers
    return "sdxl_refiner" if pooled == unet.context_width else "sdxl"


def _layout(listing: Listing) -> CheckpointLayout:
    shapes = listing.shapes
    prefix = find_prefix(shapes, UNET, "a Stable Diffusion checkpoint")
    families = _families(shapes)
    family, unet, sampling = read_unet(listing, prefix, families)
    title = f"a checkpoint of {FAMILIES[family].title}"
    places = zip(FAMILIES[family].encoders, ENCODERS[family], strict=True) if families else ()
    encoders = tuple(_encoder(shapes, kind, find_prefix(shapes, candidates, title)) for kind, candidates in places)
    ((vae, vae_mark),) = VAE
    layout = CheckpointLayout(
        family=family,
        sampling=sampling,
        unet=unet,
        encoders=encoders,
        vae=vae_layout(_named(shapes, vae, vae_parts)) if vae + vae_mark in shapes else None,
        unet_prefix=prefix,
        vae_prefix=vae,
        parameters=_parameters(shapes, (prefix, vae, *(encoder.prefix for encoder in encoders))),
    )
    _check_fit(layout)
    return layout


def _families(shapes: Shapes) -> list[Family]:
    """The families that the text encoders may be of: those whose last encoder is in the file."""
    return [
        family for family, encoders in ENCODERS.items() if any(prefix + mark in shapes for prefix, mark in encoders[-1])
    ]


def _encoder(shapes: Shapes, kind: EncoderKind, prefix: str) -> EncoderPlace:
    return EncoderPlace(kind, prefix, clip_layout(_named(shapes, prefix, text_parts), kind))


def _named(shapes: Shapes, prefix: str, parts: Callable[[Shapes], Parts]) -> dict[str, Shape]:
    stored = strip_prefix(shapes, prefix)
    return named_shapes(stored, parts(stored))


def _parameters(shapes: Shapes, prefixes: tuple[str, ...]) -> int:
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(prefixes))


def _check_fit(layout: CheckpointLayout) -> None:
    """What the networks hand each other must fit."""
    unet, latent = layout.unet, layout.vae.latent_channels if layout.vae else LATENT_CHANNELS
    if unet.out_channels != latent or unet.in_channels not in (latent, 2 * latent, 2 * latent + 1):
        raise ModelFileError(
            f"the model takes {unet.in_channels} channels and gives {unet.out_channels}, its latents have {latent}:"
            f" it is neither a plain, an inpainting ({2 * latent + 1} channels) nor an editing model ({2 * latent})"
        )
    if not layout.encoders:
        return
    if unet.context_width not in (None, layout.text_width):
        raise ModelFileError(
            f"the model expects text embeddings {unet.context_width} wide, the text encoders give {layout.text_width}"
        )
    _check_vector(layout.family, unet, layout.encoders[-1].layout.width)


def _check_vector(family: Family, unet: UNetLayout, pooled: int) -> None:
    """SDXL is told the pooled prompt and some sizes; the other families nothing."""
    numbers = FAMILIES[family].size_numbers
    expected = SIZE_WIDTH * numbers + pooled if numbers else None
    if unet.vector_width != expected:
        raise ModelFileError(
            f"the model is told {unet.vector_width or 0} numbers beside the prompt, where {FAMILIES[family].title}"
            f" is told {expected or 0}: it is another kind of model, which cannot be run"
        )
