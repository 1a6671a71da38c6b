"""ControlNet: a copy of a UNet's encoder that reads a picture (Zhang et al. 2023, https://arxiv.org/abs/2302.05543).

Attribute names are those of the weights in the file, so parameters are named as the file names them.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from graphexec.diffusion.models.control_layout import ControlNetLayout, UnionLayout
from graphexec.diffusion.models.taps import NO_TAPS, Place, Residuals
from graphexec.diffusion.models.unet import attention, run_block, timestep_embedding, unet_block

__all__ = ["ControlNetwork"]

UNION_HEADS = 8


class ControlNetwork(nn.Module):
    """What it adds to a UNet's skip connections depends on a picture and on all that the UNet itself is shown."""

    def __init__(self, layout: ControlNetLayout) -> None:
        super().__init__()
        self.layout = layout
        encoder = layout.encoder
        self.time_embed = _mlp(encoder.width, encoder.time_width)
        if encoder.vector_width is not None:
            self.label_emb = nn.Sequential(_mlp(encoder.vector_width, encoder.time_width))
        self.input_blocks = nn.ModuleList(unet_block(block, encoder) for block in encoder.input_blocks)
        self.middle_block = unet_block(encoder.middle_block, encoder)
        self.input_hint_block = _hint_block(layout)
        self.zero_convs = nn.ModuleList(_zero_conv(channels) for channels in layout.outputs)
        self.middle_block_out = _zero_conv(layout.middle)
        if layout.union is not None:
            self.task_embedding = nn.Parameter(torch.empty(layout.union.types, layout.union.width))
            self.transformer_layes = nn.Sequential(
                *(UnionBlock(layout.union.width) for _ in range(layout.union.layers))
            )
            self.spatial_ch_projs = nn.Linear(layout.union.width, layout.hint[-1][1])
            self.control_add_embedding = TypeEmbedding(layout.union, encoder.time_width)

    def embed(self, hint: Tensor, union_type: int | None = None) -> Tensor:
        """A picture [B, C, 8h, 8w] in 0..1 as a feature map [B, width, h, w]; it is the same at every noise level.

        A union ControlNet that is told its `union_type` shifts each channel by what its transformer makes of the
        channels' means.
        """
        embedded = self.input_hint_block(hint)
        if self.layout.union is None or union_type is None:
            return embedded
        means = embedded.mean(dim=(2, 3))
        means = means + self.task_embedding[union_type].to(means)  # which may be lying on the host
        shift = self.spatial_ch_projs(self.transformer_layes(means[:, None])[:, 0])
        return embedded + shift[:, :, None, None]

    def forward(
        self,
        x: Tensor,
        embedded: Tensor,
        timesteps: Tensor,
        context: Tensor,
        vector: Tensor | None = None,
        union_type: int | None = None,
    ) -> Residuals:
        """What to add to the UNet that sees the same x [B, C, h, w], timesteps [B], context and vector.

        `embedded` is what `embed` made of the picture: [B or 1, width, h, w].
        """
        emb = self._conditions(timesteps, vector, union_type, x)
        full = (x.shape[-2], x.shape[-1])
        skips: list[Tensor] = []
        for i, (block, out) in enumerate(zip(self.input_blocks, self.zero_convs, strict=True)):
            x = run_block(block, x, emb, context, full, NO_TAPS, Place("input", i, 0, full, full))
            x = x + embedded if i == 0 else x
            skips.append(out(x))
        x = run_block(self.middle_block, x, emb, context, full, NO_TAPS, Place("middle", 0, 0, full, full))
        return Residuals(middle=self.middle_block_out(x), skips=skips)

    def _conditions(self, timesteps: Tensor, vector: Tensor | None, union_type: int | None, like: Tensor) -> Tensor:
        emb = self.time_embed(timestep_embedding(timesteps, self.layout.encoder.width).to(like.dtype))
        if self.layout.union is not None:
            emb = emb + self.control_add_embedding(union_type, like)
        if self.layout.encoder.vector_width is not None:
            emb = emb + self.label_emb(vector)
        return emb


class UnionBlock(nn.Module):
    """A transformer block over the pictures of a union ControlNet, one token each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = UnionAttention(width)
        self.ln_1 = nn.LayerNorm(width)
        layers = (("c_fc", nn.Linear(width, width * 4)), ("gelu", QuickGELU()), ("c_proj", nn.Linear(width * 4, width)))
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, N, C]."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class UnionAttention(nn.Module):
    """Self-attention under the names of `nn.MultiheadAttention`, which uses its last layer's weights past the layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, N, C]."""
        q, k, v = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        return self.out_proj(attention(q, k, v, UNION_HEADS))


class QuickGELU(nn.Module):
    """The approximation of GELU that CLIP was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class TypeEmbedding(nn.Module):
    """Tells the timestep's embedding which type of control is on; None means that none is."""

    def __init__(self, union: UnionLayout, time_width: int) -> None:
        super().__init__()
        self.union = union
        self.linear_1 = nn.Linear(union.embedding * union.types, time_width)
        self.linear_2 = nn.Linear(time_width, time_width)

    def forward(self, union_type: int | None, like: Tensor) -> Tensor:
        flags = torch.zeros(self.union.types, device=like.device)
        if union_type is not None:
            flags[union_type] = 1.0
        embedded = timestep_embedding(flags, self.union.embedding).to(like.dtype).reshape(1, -1)
        return self.linear_2(nn.functional.silu(self.linear_1(embedded)))


def _mlp(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, out), nn.SiLU(), nn.Linear(out, out))


def _zero_conv(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 1))


def _hint_block(layout: ControlNetLayout) -> nn.Sequential:
    """Convolutions with SiLU between; every second one halves the size, three in all, so that pixels become latents."""
    layers: list[nn.Module] = []
    last = len(layout.hint) - 1
    for i, (in_channels, out_channels) in enumerate(layout.hint):
        stride = 2 if i % 2 == 0 and 0 < i < last else 1
        layers += [nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
