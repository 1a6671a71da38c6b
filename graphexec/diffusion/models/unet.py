"""The UNet of latent diffusion (Rombach et al. 2022, https://arxiv.org/abs/2112.10752).

Attribute names are those of the weights in the file, so parameters are named as the file names them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphexec.diffusion.models.layout import (
    AttentionLayer,
    ConvLayer,
    DownLayer,
    Layer,
    ResLayer,
    UNetLayout,
    UpLayer,
)
from graphexec.diffusion.models.taps import NO_TAPS, AttentionKind, Place, Residuals, Taps

__all__ = ["UNet", "attention", "run_block", "timestep_embedding", "unet_block"]


def timestep_embedding(timesteps: Tensor, width: int) -> Tensor:
    """Cosines then sines of the timesteps [B] at `width / 2` frequencies from 1 to 1/10000; float32 [B, width]."""
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=timesteps.device) / half)
    angles = timesteps[:, None].float() * frequencies
    embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return F.pad(embedding, (0, width % 2))


class ResBlock(nn.Module):
    """Two 3x3 convolutions around the timestep's embedding, beside a shortcut."""

    def __init__(self, layer: ResLayer, time_width: int) -> None:
        super().__init__()
        width = layer.out_channels
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, layer.in_channels), nn.SiLU(), nn.Conv2d(layer.in_channels, width, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time_width, width))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, width), nn.SiLU(), nn.Identity(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.skip_connection = nn.Conv2d(layer.in_channels, width, 1) if layer.skip else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class Attention(nn.Module):
    """Multi-head attention of x [B, N, C] to `context` [B, T, D]."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        return self.to_out(attention(q, k, v, self.heads))

    def tapped(self, kind: AttentionKind, x: Tensor, context: Tensor, taps: Taps, at: Place) -> Tensor:
        """As `forward`, with taps looking in."""
        inputs = (x, context, context)
        for tap in taps:
            inputs = tap.attention_inputs(kind, *inputs, at)
        q, k, v = self.to_q(inputs[0]), self.to_k(inputs[1]), self.to_v(inputs[2])
        replaced = (tap.attend(kind, q, k, v, self.heads, at) for tap in taps)
        out = next((other for other in replaced if other is not None), None)
        out = self.to_out(attention(q, k, v, self.heads) if out is None else out)
        for tap in taps:
            out = tap.attention_output(kind, out, at)
        return out


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Scaled dot-product attention of projected q [B, N, C] to k, v [B, T, C]."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class GEGLU(nn.Module):
    """Gated linear unit with GELU (Shazeer 2020)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inner * 2)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(width, width * 4), nn.Identity(), nn.Linear(width * 4, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    """Self-attention, attention to the text, feed-forward."""

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1 = Attention(width, width, heads)
        self.attn2 = Attention(width, context, heads)
        self.ff = FeedForward(width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x: Tensor, context: Tensor, taps: Taps, at: Place) -> Tensor:
        h = self.norm1(x)
        x = x + (self.attn1.tapped("self", h, h, taps, at) if taps else self.attn1(h, h))
        for tap in taps:
            x = tap.between_attentions(x, at)
        h = self.norm2(x)
        x = x + (self.attn2.tapped("cross", h, context, taps, at) if taps else self.attn2(h, context))
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels of a feature map."""

    def __init__(self, layer: AttentionLayer) -> None:
        super().__init__()
        self.linear = layer.linear
        self.norm = nn.GroupNorm(32, layer.channels, eps=1e-6)
        project = nn.Linear if layer.linear else _conv1x1
        self.proj_in = project(layer.channels, layer.inner)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(layer.inner, layer.context, layer.heads) for _ in range(layer.depth)
        )
        self.proj_out = project(layer.inner, layer.channels)

    def forward(self, x: Tensor, context: Tensor, taps: Taps, at: Place) -> Tensor:
        h = self.norm(x)
        h = self.proj_in(_tokens(h)) if self.linear else _tokens(self.proj_in(h))
        for index, block in enumerate(self.transformer_blocks):
            h = block(h, context, taps, replace(at, index=index) if taps else at)
        if self.linear:
            return x + _pixels(self.proj_out(h), x)
        return x + self.proj_out(_pixels(h, x))


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """To `size` rather than twice: an odd size was rounded up on the way down."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return self.conv(F.interpolate(x, size=tuple(size), mode="nearest"))


class UNet(nn.Module):
    """Predicts the noise (or v) in x [B, C, h, w] at `timesteps` [B], given `context` [B, T, D].

    `vector` [B, V] is what SDXL adds to the timestep's embedding, `residuals` what ControlNets add to feature maps.
    """

    def __init__(self, layout: UNetLayout) -> None:
        super().__init__()
        self.layout = layout
        self.time_embed = _mlp(layout.width, layout.time_width)
        if layout.vector_width is not None:
            self.label_emb = nn.Sequential(_mlp(layout.vector_width, layout.time_width))
        self.input_blocks = nn.ModuleList(unet_block(block, layout) for block in layout.input_blocks)
        self.middle_block = unet_block(layout.middle_block, layout)
        self.output_blocks = nn.ModuleList(unet_block(block, layout) for block in layout.output_blocks)
        width = _width_out(layout)
        self.out = nn.Sequential(
            nn.GroupNorm(32, width), nn.SiLU(), nn.Conv2d(width, layout.out_channels, 3, padding=1)
        )

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        vector: Tensor | None = None,
        residuals: Residuals | None = None,
        taps: Taps = NO_TAPS,
    ) -> Tensor:
        emb = self.time_embed(timestep_embedding(timesteps, self.layout.width).to(x.dtype))
        if self.layout.vector_width is not None:
            emb = emb + self.label_emb(vector)
        added = residuals or Residuals()
        skips, x = self._down(x, emb, context, added, taps)
        at = Place("middle", 0, 0, _size(x), _size(skips[0]))
        x = _plus(run_block(self.middle_block, x, emb, context, _size(x), taps, at), added.middle)
        return self.out(self._up(x, skips, emb, context, taps))

    def _down(
        self, x: Tensor, emb: Tensor, context: Tensor, added: Residuals, taps: Taps
    ) -> tuple[list[Tensor], Tensor]:
        """The skip connections, with what is added to them, and the feature map after the last input block."""
        skips: list[Tensor] = []
        full = _size(x)
        for i, block in enumerate(self.input_blocks):
            at = Place("input", i, 0, _size(x), full)
            x = _plus(run_block(block, x, emb, context, _size(x), taps, at), _at(added.inputs, i))
            for tap in taps:
                x = tap.input_block(x, at)
            skips.append(_plus(x, _at(added.skips, i)))
            for tap in taps:
                x = tap.after_skip(x, at)
        return skips, x

    def _up(self, x: Tensor, skips: list[Tensor], emb: Tensor, context: Tensor, taps: Taps) -> Tensor:
        full = _size(skips[0])
        for i, block in enumerate(self.output_blocks):
            skip = skips.pop()
            at = Place("output", i, 0, _size(x), full)
            for tap in taps:
                x, skip = tap.join(x, skip, at)
            at = replace(at, size=_size(x))
            x = torch.cat([x, skip], dim=1)
            x = run_block(block, x, emb, context, _size(skips[-1]) if skips else _size(x), taps, at)
        return x


def _mlp(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, out), nn.SiLU(), nn.Linear(out, out))


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]


def _at(added: Sequence[Tensor | None], i: int) -> Tensor | None:
    return added[i] if i < len(added) else None


def _plus(x: Tensor, added: Tensor | None) -> Tensor:
    """With a residual, unless that is for a feature map of another size: a tap may have made this one smaller."""
    if added is None or any(side not in (1, own) for side, own in zip(_size(added), _size(x), strict=True)):
        return x
    return x + added.to(x.dtype)


def _conv1x1(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 1)


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _pixels(tokens: Tensor, like: Tensor) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, like.shape[-2:]).contiguous()


def _width_out(layout: UNetLayout) -> int:
    """Channels after the last block."""
    return next(layer.out_channels for layer in reversed(layout.output_blocks[-1]) if isinstance(layer, ResLayer))


def unet_block(layers: Sequence[Layer], layout: UNetLayout) -> nn.ModuleList:
    """One block of a UNet, as its file numbers them."""
    return nn.ModuleList(_module(layer, layout) for layer in layers)


def _module(layer: Layer, layout: UNetLayout) -> nn.Module:
    match layer:
        case ConvLayer():
            return nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)
        case ResLayer():
            return ResBlock(layer, layout.time_width)
        case AttentionLayer():
            return SpatialTransformer(layer)
        case DownLayer():
            return Downsample(layer.channels)
        case UpLayer():
            return Upsample(layer.channels)


def run_block(
    block: nn.Module, x: Tensor, emb: Tensor, context: Tensor, size: Sequence[int], taps: Taps, at: Place
) -> Tensor:
    """The feature map after a block; `size` is what an upsampling layer goes to."""
    for layer in block.children():
        match layer:
            case ResBlock():
                x = layer(x, emb)
            case SpatialTransformer():
                x = layer(x, context, taps, at)
            case Upsample():
                x = layer(x, size)
            case _:
                x = layer(x)
    return x
