"""The shapes of networks that steer a UNet, read from the names and shapes of their weights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, takewhile

from graphexec.diffusion.models.layout import UNetLayout, encoder_layout, need
from graphexec.errors import ModelFileError
from graphexec.lora.header import Shape, Shapes

__all__ = ["AdapterLayout", "ControlNetLayout", "UnionLayout", "adapter_layout", "controlnet_layout"]

DOWNSCALE = 8
XL_DOWNSCALE = 16
LEVELS = 4
PLACES = (2, 5, 8, 11)
"""The input blocks of SD 1.x and 2.x that end a level; each level's feature map of a T2I-Adapter is added there."""
XL_PLACES = (3, 5, 8)
"""SDXL's first downsampling, then the ends of its levels; the last feature map goes to the middle."""


@dataclass(frozen=True, slots=True)
class UnionLayout:
    """What tells a union ControlNet (xinsir's ControlNet++) which of its `types` of control a picture is."""

    types: int
    width: int
    layers: int
    embedding: int
    """Channels of the sinusoidal embedding of each type's flag."""


@dataclass(frozen=True, slots=True)
class ControlNetLayout:
    """A copy of a UNet's encoder; convolutions, as (in, out) channels, that bring a picture to the latents' size."""

    encoder: UNetLayout
    hint: tuple[tuple[int, int], ...]
    outputs: tuple[int, ...]
    """Channels of what goes to each skip connection."""
    middle: int
    union: UnionLayout | None

    @property
    def hint_channels(self) -> int:
        """Channels of the picture."""
        return self.hint[0][0]


@dataclass(frozen=True, slots=True)
class AdapterLayout:
    """A T2I-Adapter: its weights' shapes by module; `xl` those for SDXL, which start at a 16th of the picture's size.

    Each level is `per_level` residual blocks, or, in the light form, one extractor of residual blocks between two
    1x1 convolutions.
    """

    shapes: Shapes
    channels: int
    xl: bool
    light: bool
    per_level: int

    @property
    def downscale(self) -> int:
        """Pixels a side that its first layer takes together."""
        return XL_DOWNSCALE if self.xl else DOWNSCALE

    @property
    def widths(self) -> dict[int, int]:
        """Channels of what is added, by input block of the UNet."""
        last = [f"{i}.out_conv" if self.light else f"{(i + 1) * self.per_level - 1}.block2" for i in range(LEVELS)]
        found = [need(self.shapes, f"body.{name}.weight", 4)[0] for name in last]
        return dict(zip(XL_PLACES if self.xl else PLACES, found, strict=False))


def controlnet_layout(shapes: Shapes, encoder: UNetLayout | None = None) -> ControlNetLayout:
    """The layout of a ControlNet; `encoder` is that of the UNet it copies where the file does not hold it whole.

    Raises `ModelFileError` naming a weight that is missing or of a strange shape.
    """
    encoder = encoder or encoder_layout(shapes)
    outputs = tuple(conv[0] for conv in _numbered(shapes, "zero_convs.{}.0.weight"))
    if len(outputs) != len(encoder.input_blocks):
        raise ModelFileError(f"{len(outputs)} zero convolutions go with {len(encoder.input_blocks)} blocks of a UNet")
    return ControlNetLayout(
        encoder=encoder,
        hint=tuple((conv[1], conv[0]) for conv in _numbered(shapes, "input_hint_block.{}.weight", step=2)),
        outputs=outputs,
        middle=need(shapes, "middle_block_out.0.weight", 4)[0],
        union=_union(shapes) if "task_embedding" in shapes else None,
    )


def adapter_layout(shapes: Shapes) -> AdapterLayout:
    """The layout of a T2I-Adapter; `ModelFileError` names a weight that is missing."""
    light = "body.0.out_conv.weight" in shapes
    first = need(shapes, "body.0.in_conv.weight" if light else "conv_in.weight", 4)[1]
    # One or three channels, 8 or 16 pixels a side taken together: all four numbers differ.
    xl = not light and first in (XL_DOWNSCALE**2, 3 * XL_DOWNSCALE**2)
    blocks = len(_numbered(shapes, "body.{}.out_conv.weight" if light else "body.{}.block1.weight"))
    if blocks < LEVELS:
        raise ModelFileError(f"a T2I-Adapter has {LEVELS} levels, and this one only {blocks} blocks")
    downscale = XL_DOWNSCALE if xl else DOWNSCALE
    return AdapterLayout(shapes, first // downscale**2, xl, light, blocks // LEVELS)


def _union(shapes: Shapes) -> UnionLayout:
    types, width = need(shapes, "task_embedding")[:2]
    return UnionLayout(
        types=types,
        width=width,
        layers=len(_numbered(shapes, "transformer_layes.{}.attn.in_proj_weight", dims=2)),
        embedding=need(shapes, "control_add_embedding.linear_1.weight")[1] // types,
    )


def _numbered(shapes: Shapes, pattern: str, step: int = 1, dims: int = 4) -> tuple[Shape, ...]:
    """The shapes of the weights called `pattern` with 0, step, 2 step …; there is at least one."""
    names = takewhile(lambda name: name in shapes, (pattern.format(i) for i in count(0, step)))
    return tuple(need(shapes, name, dims) for name in names) or (need(shapes, pattern.format(0)),)
