"""The autoencoder of latent diffusion (Rombach et al. 2022), with the names of its weights in the file."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphexec.diffusion.models.layout import VaeLayout, VaeSide

__all__ = ["Autoencoder"]


class ResBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = _norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)
        else:
            self.nin_shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class AttentionBlock(nn.Module):
    """Single-head attention over the pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        # Contiguous: of others torch makes whole matrices of pixels by pixels.
        q, k, v = (t.flatten(2).mT.contiguous().unsqueeze(1) for t in (self.q(h), self.k(h), self.v(h)))
        out = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        return x + self.proj_out(out.transpose(1, 2).unflatten(2, x.shape[-2:]).contiguous())


class Downsample(nn.Module):
    """Padded on the right and below only, as the weights were trained."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    def __init__(self, blocks: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResBlock(i, o) for i, o in blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return x


class DownLevel(Level):
    def __init__(self, blocks: Sequence[tuple[int, int]], resample: bool) -> None:
        super().__init__(blocks)
        self.downsample = Downsample(blocks[-1][1]) if resample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(super().forward(x))


class UpLevel(Level):
    def __init__(self, blocks: Sequence[tuple[int, int]], resample: bool) -> None:
        super().__init__(blocks)
        self.upsample = Upsample(blocks[-1][1]) if resample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample(super().forward(x))


class Middle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResBlock(channels, channels)
        self.attn_1 = AttentionBlock(channels)
        self.block_2 = ResBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    def __init__(self, side: VaeSide) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(side.in_channels, side.first, 3, padding=1)
        self.down = nn.ModuleList(DownLevel(level.blocks, level.resample) for level in side.levels)
        self.mid = Middle(side.mid)
        self.norm_out = _norm(side.last)
        self.conv_out = nn.Conv2d(side.last, side.out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    def __init__(self, side: VaeSide) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(side.in_channels, side.first, 3, padding=1)
        self.mid = Middle(side.mid)
        self.up = nn.ModuleList(UpLevel(level.blocks, level.resample) for level in side.levels)
        self.norm_out = _norm(side.last)
        self.conv_out = nn.Conv2d(side.last, side.out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for i in reversed(range(len(self.up))):
            h = self.up[i](h)
        return self.conv_out(F.silu(self.norm_out(h)))


class Autoencoder(nn.Module):
    """Pictures [B, 3, H, W] in -1..1 to latents [B, C, H/f, W/f] and back."""

    def __init__(self, layout: VaeLayout) -> None:
        super().__init__()
        self.layout = layout
        self.encoder = Encoder(layout.encoder)
        self.decoder = Decoder(layout.decoder)
        self.quant_conv = nn.Conv2d(layout.encoder.out_channels, layout.moments, 1)
        self.post_quant_conv = nn.Conv2d(layout.latent_channels, layout.decoder.in_channels, 1)

    def encode(self, pixels: Tensor) -> Tensor:
        """The mean (and mode) of the posterior."""
        mean, _log_variance = torch.chunk(self.quant_conv(self.encoder(pixels)), 2, dim=1)
        return mean

    def decode(self, latents: Tensor) -> Tensor:
        """The picture of the latents, not clamped."""
        return self.decoder(self.post_quant_conv(latents))


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)
