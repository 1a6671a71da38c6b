"""CLIP's text encoder (Radford et al. 2021, https://arxiv.org/abs/2103.00020), with the names of its HF weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphexec.diffusion.models.layout import ClipLayout

__all__ = ["ClipText", "Encoded"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """`hidden` [B, T, C] of the layer asked for, normed; `pooled` [B, C] of the last layer at the first end token."""

    hidden: Tensor
    pooled: Tensor


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        return self.fc2(h * torch.sigmoid(1.702 * h))


class EncoderLayer(nn.Module):
    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        self.self_attn = SelfAttention(layout.width, layout.heads)
        self.layer_norm1 = nn.LayerNorm(layout.width)
        self.mlp = Mlp(layout.width, layout.hidden)
        self.layer_norm2 = nn.LayerNorm(layout.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Embeddings(nn.Module):
    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        # Given a weight, `Embedding` draws none: on the meta device that alone costs a second of imports.
        self.token_embedding = nn.Embedding.from_pretrained(torch.empty(layout.vocabulary, layout.width))
        self.position_embedding = nn.Embedding.from_pretrained(torch.empty(layout.positions, layout.width))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]


class Encoder(nn.Module):
    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(layout) for _ in range(layout.layers))


class ClipText(nn.Module):
    """Encodes tokens [B, T]; `last_layer` counts from the end, and one beyond the first layer means the last."""

    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        self.layout = layout
        self.embeddings = Embeddings(layout)
        self.encoder = Encoder(layout)
        self.final_layer_norm = nn.LayerNorm(layout.width)

    def forward(self, tokens: Tensor, end: int, last_layer: int = -1) -> Encoded:
        wanted = len(self.encoder.layers) + last_layer if -len(self.encoder.layers) <= last_layer else -1
        x = hidden = self.embeddings(tokens)
        for i, layer in enumerate(self.encoder.layers):
            x = layer(x)
            hidden = x if wanted in (i, -1) else hidden
        at = (tokens == end).int().argmax(dim=-1)
        pooled = self.final_layer_norm(x[torch.arange(len(x), device=x.device), at])
        return Encoded(self.final_layer_norm(hidden), pooled)
