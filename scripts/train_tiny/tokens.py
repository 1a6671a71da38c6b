"""The tokens of captions, as prompts are tokenized, and what a text encoder makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from graphexec.diffusion.text import tokenize_prompt
from graphexec.diffusion.tokenizer import ClipTokenizer
from layouts import CLIP

__all__ = ["BEGIN", "END", "Tokens", "Told", "contexts"]

BEGIN, END = CLIP.vocabulary - 2, CLIP.vocabulary - 1
"""CLIP's marks; after the end, the chunk is filled up with it."""


class Tokens:
    """Tokenizes each caption once."""

    def __init__(self) -> None:
        self._tokenizer = ClipTokenizer()
        self._known: dict[str, Tensor] = {}

    def __call__(self, caption: str) -> Tensor:
        """[77] int64."""
        if caption not in self._known:
            (chunk, *_more) = tokenize_prompt(caption, self._tokenizer)
            self._known[caption] = torch.tensor([token.value for token in chunk])
        return self._known[caption]

    def stacked(self, captions: Sequence[str]) -> Tensor:
        """[B, 77] int64."""
        return torch.stack([self(caption) for caption in captions])

    def used(self, captions: Iterable[str]) -> Tensor:
        """Which tokens of the vocabulary any of the captions has, bool [49408]."""
        found = torch.zeros(CLIP.vocabulary, dtype=torch.bool)
        for caption in captions:
            found[self(caption)] = True
        return found


def contexts(text: nn.Module, tokens: Tensor) -> Tensor:
    """What a text encoder makes of tokens [B, T], float32 [B, T, 64]."""
    ends = torch.full((len(tokens),), tokens.shape[1] - 1, device=tokens.device)
    return text(text.embeddings.token_embedding(tokens), ends).hidden


class Told:
    """What a text encoder that learns no more makes of captions, each encoded once."""

    def __init__(self, text: nn.Module, tokens: Tokens) -> None:
        self.text, self.tokens = text, tokens
        self._known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, caption: str) -> Tensor:
        """[77, 64]."""
        if caption not in self._known:
            asked = self.tokens(caption)[None].to(self.text.final_layer_norm.weight.device)
            self._known[caption] = contexts(self.text, asked)[0].cpu()
        return self._known[caption]
