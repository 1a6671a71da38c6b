"""The shape of a network, read from the names and shapes of its weights: widths, depths, where attention sits.

Nothing here is assumed of a particular model: every level, block and projection is what the file says it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count, takewhile

from graphexec.diffusion.types import EncoderKind
from graphexec.errors import ModelFileError
from graphexec.lora.header import Shape, Shapes

__all__ = [
    "AttentionLayer",
    "ClipLayout",
    "ConvLayer",
    "DownLayer",
    "Layer",
    "ResLayer",
    "UNetLayout",
    "UpLayer",
    "VaeLayout",
    "VaeLevel",
    "VaeSide",
    "clip_layout",
    "encoder_layout",
    "need",
    "unet_layout",
    "vae_layout",
]

H_LAYERS = 24


@dataclass(frozen=True, slots=True)
class ConvLayer:
    """The first 3x3 convolution."""

    in_channels: int
    out_channels: int


@dataclass(frozen=True, slots=True)
class ResLayer:
    """A residual block; `skip` says whether its shortcut is a 1x1 convolution."""

    in_channels: int
    out_channels: int
    skip: bool


@dataclass(frozen=True, slots=True)
class AttentionLayer:
    """A stack of `depth` transformer blocks, projected into and out of by 1x1 convolutions or linears."""

    channels: int
    inner: int
    context: int
    depth: int
    linear: bool

    @property
    def heads(self) -> int:
        """Eight, as in SD 1.x, or heads 64 wide, as in the later models, which project by linears."""
        return max(1, self.inner // 64) if self.linear else 8


@dataclass(frozen=True, slots=True)
class DownLayer:
    """Halves the resolution by a strided convolution."""

    channels: int


@dataclass(frozen=True, slots=True)
class UpLayer:
    """Doubles the resolution: nearest neighbour, then a convolution."""

    channels: int


Layer = ConvLayer | ResLayer | AttentionLayer | DownLayer | UpLayer


@dataclass(frozen=True, slots=True)
class UNetLayout:
    """The UNet of latent diffusion (Rombach et al. 2022), block by block as its file numbers them."""

    in_channels: int
    out_channels: int
    width: int
    time_width: int
    vector_width: int | None
    """Channels of the vector that SDXL adds to the timestep's embedding; None without one."""
    input_blocks: tuple[tuple[Layer, ...], ...]
    middle_block: tuple[Layer, ...]
    output_blocks: tuple[tuple[Layer, ...], ...]

    @property
    def input_widths(self) -> list[int]:
        """Channels of what each input block gives."""
        return [_width_after(block[-1]) for block in self.input_blocks]

    @property
    def attention_layers(self) -> list[AttentionLayer]:
        """The stacks of transformer blocks, in the order in which they run."""
        blocks = (*self.input_blocks, self.middle_block, *self.output_blocks)
        return [layer for block in blocks for layer in block if isinstance(layer, AttentionLayer)]

    @property
    def context_width(self) -> int | None:
        """Channels of the text embedding that the model attends to; None without attention."""
        return next((layer.context for layer in self.attention_layers), None)


@dataclass(frozen=True, slots=True)
class ClipLayout:
    """A text encoder of CLIP (Radford et al. 2021) or OpenCLIP; heads are 64 wide."""

    vocabulary: int
    positions: int
    width: int
    hidden: int
    layers: int
    heads: int
    quick_gelu: bool = True
    """Whether GELU is approximated by x * sigmoid(1.702 x), as OpenAI's CLIP does and OpenCLIP does not."""
    projection: int | None = None
    """Channels that the pooled output is projected to; None where the file has no projection."""
    left_off: int = 0
    """How many of the last layers the file does not have."""


@dataclass(frozen=True, slots=True)
class VaeLevel:
    """One resolution: (in, out) channels of its residual blocks, and whether a change of resolution follows."""

    blocks: tuple[tuple[int, int], ...]
    resample: bool


@dataclass(frozen=True, slots=True)
class VaeSide:
    """The encoder or the decoder. Levels are numbered from the finest, as in the file."""

    in_channels: int
    out_channels: int
    first: int
    last: int
    mid: int
    levels: tuple[VaeLevel, ...]


@dataclass(frozen=True, slots=True)
class VaeLayout:
    """The autoencoder of latent diffusion; `moments` is twice the latent's channels."""

    encoder: VaeSide
    decoder: VaeSide
    latent_channels: int
    moments: int

    @property
    def downscale(self) -> int:
        """Pixels per latent, along one side."""
        return 1 << sum(level.resample for level in self.decoder.levels)


def _width_after(layer: Layer) -> int:
    return layer.out_channels if isinstance(layer, ConvLayer | ResLayer) else layer.channels


def unet_layout(shapes: Shapes) -> UNetLayout:
    """The layout of the UNet with these weights; `ModelFileError` names a weight that is missing."""
    last = need(shapes, "out.2.weight", 4)
    return replace(encoder_layout(shapes), out_channels=last[0], output_blocks=_blocks(shapes, "output_blocks"))


def encoder_layout(shapes: Shapes) -> UNetLayout:
    """The layout of a UNet down to its middle, as ControlNets copy it: no output blocks, 0 channels out."""
    first, time = need(shapes, "input_blocks.0.0.weight", 4), need(shapes, "time_embed.0.weight")
    labelled = "label_emb.0.0.weight" in shapes
    return UNetLayout(
        in_channels=first[1],
        out_channels=0,
        width=time[1],
        time_width=time[0],
        vector_width=need(shapes, "label_emb.0.0.weight")[1] if labelled else None,
        input_blocks=_blocks(shapes, "input_blocks"),
        middle_block=_layers(shapes, "middle_block"),
        output_blocks=(),
    )


def clip_layout(shapes: Shapes, kind: EncoderKind = "clip_l") -> ClipLayout:
    """The layout of the text encoder with these weights; `ModelFileError` names a weight that is missing."""
    vocabulary, width = need(shapes, "embeddings.token_embedding.weight")
    layers = _count(shapes, "encoder.layers.{}.mlp.fc1.weight")
    projection = shapes.get("text_projection.weight")
    return ClipLayout(
        vocabulary=vocabulary,
        positions=need(shapes, "embeddings.position_embedding.weight")[0],
        width=width,
        hidden=need(shapes, "encoder.layers.0.mlp.fc1.weight")[0],
        layers=layers,
        heads=max(1, width // 64),
        quick_gelu=kind == "clip_l",
        projection=None if projection is None else projection[0],
        # SD 2.x uses the last but one of 24 layers, and its diffusers files leave the last one off.
        left_off=1 if kind == "clip_h" and layers == H_LAYERS - 1 else 0,
    )


def vae_layout(shapes: Shapes) -> VaeLayout:
    """The layout of the autoencoder with these weights; `ModelFileError` names a weight that is missing."""
    moments = need(shapes, "quant_conv.weight", 4)
    return VaeLayout(
        encoder=_vae_side(shapes, "encoder", "down", "downsample"),
        decoder=_vae_side(shapes, "decoder", "up", "upsample"),
        latent_channels=need(shapes, "post_quant_conv.weight", 4)[1],
        moments=moments[0],
    )


def need(shapes: Shapes, name: str, dims: int = 2) -> Shape:
    """The shape of a weight that has at least `dims` dimensions; `ModelFileError` otherwise."""
    if name not in shapes:
        raise ModelFileError(f"the weight {name!r} is missing")
    if len(shapes[name]) < dims:
        raise ModelFileError(f"the weight {name!r} has the shape {shapes[name]}, where {dims} dimensions are expected")
    return shapes[name]


def _count(shapes: Shapes, pattern: str) -> int:
    return sum(1 for _ in takewhile(lambda i: pattern.format(i) in shapes, count()))


def _blocks(shapes: Shapes, name: str) -> tuple[tuple[Layer, ...], ...]:
    blocks = (_layers(shapes, f"{name}.{i}") for i in count())
    return tuple(takewhile(bool, blocks))


def _layers(shapes: Shapes, at: str) -> tuple[Layer, ...]:
    layers = (_layer(shapes, f"{at}.{i}") for i in count())
    return tuple(takewhile(lambda layer: layer is not None, layers))  # pyright: ignore[reportReturnType]


def _layer(shapes: Shapes, at: str) -> Layer | None:
    """What sits at one place, told by the weights that are there."""
    if f"{at}.in_layers.2.weight" in shapes:
        conv = need(shapes, f"{at}.in_layers.2.weight", 4)
        return ResLayer(conv[1], conv[0], f"{at}.skip_connection.weight" in shapes)
    if f"{at}.proj_in.weight" in shapes:
        proj = need(shapes, f"{at}.proj_in.weight")
        context = need(shapes, f"{at}.transformer_blocks.0.attn2.to_k.weight")[1]
        depth = _count(shapes, at + ".transformer_blocks.{}.attn2.to_k.weight")
        return AttentionLayer(proj[1], proj[0], context, depth, linear=len(proj) == 2)
    if f"{at}.op.weight" in shapes:
        return DownLayer(need(shapes, f"{at}.op.weight", 4)[0])
    if f"{at}.conv.weight" in shapes:
        return UpLayer(need(shapes, f"{at}.conv.weight", 4)[0])
    if f"{at}.weight" not in shapes:
        return None
    conv = need(shapes, f"{at}.weight", 4)
    return ConvLayer(conv[1], conv[0])


def _vae_side(shapes: Shapes, side: str, levels: str, resample: str) -> VaeSide:
    first, last = need(shapes, f"{side}.conv_in.weight", 4), need(shapes, f"{side}.conv_out.weight", 4)
    found = _count(shapes, f"{side}.{levels}.{{}}.block.0.conv1.weight")
    return VaeSide(
        in_channels=first[1],
        out_channels=last[0],
        first=first[0],
        last=last[1],
        mid=need(shapes, f"{side}.mid.block_1.conv1.weight", 4)[0],
        levels=tuple(_vae_level(shapes, f"{side}.{levels}.{i}", resample) for i in range(found)),
    )


def _vae_level(shapes: Shapes, at: str, resample: str) -> VaeLevel:
    found = _count(shapes, at + ".block.{}.conv1.weight")
    convs = [need(shapes, f"{at}.block.{j}.conv1.weight", 4) for j in range(found)]
    return VaeLevel(tuple((conv[1], conv[0]) for conv in convs), f"{at}.{resample}.conv.weight" in shapes)
