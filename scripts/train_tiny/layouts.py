"""The small model's widths: SD1.x's levels and blocks, so that the names of blocks mean what they mean there."""

from __future__ import annotations

from collections.abc import Sequence

from graphexec.diffusion.models.layout import (
    AttentionLayer,
    ClipLayout,
    ConvLayer,
    DownLayer,
    Layer,
    ResLayer,
    UNetLayout,
    UpLayer,
    VaeLayout,
    VaeLevel,
    VaeSide,
)
from graphexec.diffusion.types import LATENT_CHANNELS

__all__ = ["CLIP", "UNET", "VAE"]

WIDTH, FACTORS, CONTEXT = 64, (1, 1, 2, 2), 64
BLOCKS, ATTENDING = 2, (0, 1, 2)


def _unet() -> UNetLayout:
    blocks_in, left, channels = _input_blocks()
    middle: tuple[Layer, ...] = (
        ResLayer(channels, channels, False),
        _attention(channels),
        ResLayer(channels, channels, False),
    )
    return UNetLayout(
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        width=WIDTH,
        time_width=WIDTH * 4,
        vector_width=None,
        input_blocks=blocks_in,
        middle_block=middle,
        output_blocks=_output_blocks(left, channels),
    )


def _input_blocks() -> tuple[tuple[tuple[Layer, ...], ...], list[int], int]:
    """The blocks on the way down, the channels that each leaves for the way up, and those of the last."""
    channels, blocks, left = WIDTH, [_block(ConvLayer(LATENT_CHANNELS, WIDTH))], [WIDTH]
    for level, factor in enumerate(FACTORS):
        for _ in range(BLOCKS):
            out = WIDTH * factor
            attention = (_attention(out),) if level in ATTENDING else ()
            blocks.append(_block(ResLayer(channels, out, channels != out), *attention))
            left.append(channels := out)
        if level < len(FACTORS) - 1:
            blocks.append(_block(DownLayer(channels)))
            left.append(channels)
    return tuple(blocks), left, channels


def _output_blocks(left: Sequence[int], channels: int) -> tuple[tuple[Layer, ...], ...]:
    blocks, left = list[tuple[Layer, ...]](), list(left)
    for level in reversed(range(len(FACTORS))):
        out = WIDTH * FACTORS[level]
        for i in range(BLOCKS + 1):
            layers: list[Layer] = [ResLayer(channels + left.pop(), out, True)]
            layers += [_attention(out)] if level in ATTENDING else []
            layers += [UpLayer(out)] if level and i == BLOCKS else []
            blocks.append(tuple(layers))
            channels = out
    return tuple(blocks)


def _block(*layers: Layer) -> tuple[Layer, ...]:
    return layers


def _attention(channels: int) -> AttentionLayer:
    return AttentionLayer(channels, channels, CONTEXT, depth=1, linear=False)


def _vae() -> VaeLayout:
    """One residual block a level. The decoder's finest level is 64 wide: a norm of 32 groups over 32 channels would
    take away each channel's mean, and with it the colour of a plain background."""
    down = ((32, 32), (32, 64), (64, 128), (128, 128))
    up = ((64, 64), (128, 64), (128, 128), (128, 128))
    levels_down = tuple(VaeLevel((pair,), i < 3) for i, pair in enumerate(down))
    levels_up = tuple(VaeLevel((pair,), i > 0) for i, pair in enumerate(up))
    return VaeLayout(
        encoder=VaeSide(3, LATENT_CHANNELS * 2, first=32, last=128, mid=128, levels=levels_down),
        decoder=VaeSide(LATENT_CHANNELS, 3, first=128, last=64, mid=128, levels=levels_up),
        latent_channels=LATENT_CHANNELS,
        moments=LATENT_CHANNELS * 2,
    )


UNET = _unet()
VAE = _vae()
CLIP = ClipLayout(vocabulary=49408, positions=77, width=CONTEXT, hidden=CONTEXT * 16, layers=6, heads=1)
