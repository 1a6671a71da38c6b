"""Which layers of a model get an adapter, and what sd-scripts calls them.

As in sd-scripts: everything linear (or a 1x1 convolution) in the UNet's transformers and in the text encoders'
attention and MLPs; with a rank for convolutions also what is in its residual blocks, downsamplers and upsamplers; and,
as in LyCORIS alone, what stands before and after the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.models.clip import ClipText, Mlp, SelfAttention
from graphexec.diffusion.models.unet import Downsample, ResBlock, SpatialTransformer, UNet, Upsample
from graphexec.diffusion.types import Family
from graphexec.lora.keys import diffusers_names
from graphexec.train.network.base import Layer

__all__ = ["Target", "text_targets", "unet_targets"]

ENDS = ("input_blocks.0.0", "time_embed.0", "time_embed.2", "out.2")
"""conv_in, the two layers of the time embedding, conv_out."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A layer: `name` is sd-scripts', `place` the one in its network."""

    name: str
    place: str
    layer: Layer
    encoder: int | None = None
    """The number of the text encoder, from 0; None in the UNet."""

    @property
    def is_small(self) -> bool:
        """Whether the rank is that of linears: it is one, or a convolution of kernel 1."""
        return isinstance(self.layer, nn.Linear) or self.layer.kernel_size == (1, 1)


def unet_targets(unet: UNet, family: Family, *, convolutions: bool, ends: bool = False) -> Iterator[Target]:
    """The layers of a UNet; sd-scripts names them as diffusers does, those of SDXL as the checkpoint does."""
    owners = (SpatialTransformer, ResBlock, Downsample, Upsample) if convolutions else (SpatialTransformer,)
    # Blocks are numbered by all layers that there are, not by those that get an adapter.
    every = dict(_weighted(unet))
    found = dict(_layers(unet, owners)) | ({place: every[place] for place in ENDS} if ends else {})
    names = {place: place for place in every} if family.startswith("sdxl") else diffusers_names(every)
    for place, layer in found.items():
        yield Target(_flat("lora_unet", names[place]), place, layer)


def text_targets(encoders: Sequence[ClipText], family: Family) -> Iterator[Target]:
    """The layers of text encoders that reach the UNet."""
    for number, encoder in enumerate(encoders):
        prefix = f"lora_te{number + 1}" if len(FAMILIES[family].encoders) > 1 else "lora_te"
        for place, layer in _layers(encoder, (SelfAttention, Mlp)):
            if not _is_idle(encoder, family, place):
                yield Target(_flat(prefix, f"text_model.{place}"), place, layer, number)


def _is_idle(encoder: ClipText, family: Family, place: str) -> bool:
    """Whether a layer comes after the one that SD 2.x takes; sd-scripts does not even load those.

    SDXL's encoders keep all: the last layers of CLIP-G make the pooled output, and of CLIP-L sd-scripts has them too.
    """
    if family != "sd2":
        return False
    last = len(encoder.encoder.layers) + FAMILIES[family].last_layer + encoder.layout.left_off
    return int(place.split(".")[2]) > max(last, 0)


def _layers(network: nn.Module, owners: tuple[type[nn.Module], ...]) -> Iterator[tuple[str, Layer]]:
    for at, owner in network.named_modules():
        if isinstance(owner, owners):
            yield from _weighted(owner, at)


def _weighted(network: nn.Module, at: str = "") -> Iterator[tuple[str, Layer]]:
    for name, layer in network.named_modules(prefix=at):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            yield name, layer


def _flat(prefix: str, name: str) -> str:
    return f"{prefix}_{name.replace('.', '_')}"
