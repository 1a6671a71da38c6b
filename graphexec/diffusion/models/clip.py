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
    """`hidden` [B, T, C] of the layer asked for; `pooled` [B, P] of the last layer at the end token, projected."""

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

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        self.quick = layout.quick_gelu
        self.fc1 = nn.Linear(layout.width, layout.hidden)
        self.fc2 = nn.Linear(layout.hidden, layout.width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        return self.fc2(h * torch.sigmoid(1.702 * h) if self.quick else F.gelu(h))


class EncoderLayer(nn.Module):
    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        self.self_attn = SelfAttention(layout.width, layout.heads)
        self.layer_norm1 = nn.LayerNorm(layout.width)
        self.mlp = Mlp(layout)
        self.layer_norm2 = nn.LayerNorm(layout.width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class Embeddings(nn.Module):
    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        # Given a weight, `Embedding` draws none: on the meta device that alone costs a second of imports.
        self.token_embedding = nn.Embedding.from_pretrained(torch.empty(layout.vocabulary, layout.width))
        self.position_embedding = nn.Embedding.from_pretrained(torch.empty(layout.positions, layout.width))

    def forward(self, vectors: Tensor) -> Tensor:
        places = torch.arange(vectors.shape[1], device=vectors.device)
        return vectors + self.position_embedding(places)


class Encoder(nn.Module):
    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(layout) for _ in range(layout.layers))


class ClipText(nn.Module):
    """Encodes the vectors of tokens [B, T, C], which `embeddings.token_embedding` gives."""

    def __init__(self, layout: ClipLayout) -> None:
        super().__init__()
        self.layout = layout
        self.embeddings = Embeddings(layout)
        self.encoder = Encoder(layout)
        self.final_layer_norm = nn.LayerNorm(layout.width)
        if layout.projection is not None:
            self.text_projection = nn.Linear(layout.width, layout.projection, bias=False)

    def forward(
        self, vectors: Tensor, ends: Tensor, layer: int = -1, *, normed: bool = True, keep: Tensor | None = None
    ) -> Encoded:
        """Encode.

        Args:
            vectors: float32 [B, T, C].
            ends: the place of each row's end token, where the pooled output is taken; int64 [B].
            layer: whose output is wanted, from the end; one before the first means the last, which is always normed.
            normed: whether that output goes through the final norm.
            keep: tokens that the others may attend to, bool [B, T]; all if not given.
        """
        count = len(self.encoder.layers)
        wanted = count + layer + self.layout.left_off
        known = 0 <= wanted < count
        mask = None if keep is None else _causal(keep)
        x = hidden = self.embeddings(vectors)
        for i, block in enumerate(self.encoder.layers):
            x = block(x, mask)
            hidden = x if i == wanted or not known else hidden
        pooled = self.final_layer_norm(x[torch.arange(len(x), device=x.device), ends])
        if self.layout.projection is not None:
            pooled = self.text_projection(pooled)
        return Encoded(self.final_layer_norm(hidden) if normed or not known else hidden, pooled)


def _causal(keep: Tensor) -> Tensor:
    """What each token may attend to: kept ones up to itself; bool [B, 1, T, T]."""
    length = keep.shape[1]
    return keep[:, None, None, :] & torch.ones(length, length, dtype=torch.bool, device=keep.device).tril()
