"""Prompts to conditioning."""

from __future__ import annotations

import torch
from torch import Tensor

from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.text import CHUNK, Token, tokenize_prompt
from graphexec.diffusion.tokenizer import END, START
from graphexec.diffusion.types import Clip, Cond, Conditioning

__all__ = ["encode_prompt"]

EMPTY = [START, *[END] * (CHUNK - 1)]


def encode_prompt(runtime: Runtime, clip: Clip, text: str) -> Conditioning:
    """Encode a prompt: one cond [1, 77 * chunks, C], its pooled output that of the first chunk.

    A weight w moves a token's embedding z to `(z - z_empty) * w + z_empty`, where `z_empty` is that of no text.
    """
    chunks = tokenize_prompt(text, runtime.tokenizer)
    with runtime.text_encoder(clip.encoders[0], clip.patches) as encoder, torch.no_grad():
        device = encoder.final_layer_norm.weight.device
        ids = torch.tensor([[token.id for token in chunk] for chunk in chunks] + [EMPTY], device=device)
        encoded = encoder(ids, END, -1 if clip.last_layer is None else clip.last_layer)
        embedding = _weighted(encoded.hidden[:-1], encoded.hidden[-1:], _weights(chunks).to(device))
        return Conditioning((Cond(embedding.flatten(0, 1)[None].cpu(), encoded.pooled[:1].cpu()),))


def _weights(chunks: list[list[Token]]) -> Tensor:
    return torch.tensor([[token.weight for token in chunk] for chunk in chunks], dtype=torch.float32)[..., None]


def _weighted(z: Tensor, empty: Tensor, weights: Tensor) -> Tensor:
    return torch.where(weights == 1.0, z, (z - empty) * weights + empty)
