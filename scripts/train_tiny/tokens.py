"""The tokens of captions, as prompts are tokenized."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from graphexec.diffusion.text import tokenize_prompt
from graphexec.diffusion.tokenizer import ClipTokenizer
from layouts import CLIP

__all__ = ["BEGIN", "END", "Tokens"]

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

    def used(self, captions: Iterable[str]) -> Tensor:
        """Which tokens of the vocabulary any of the captions has, bool [49408]."""
        found = torch.zeros(CLIP.vocabulary, dtype=torch.bool)
        for caption in captions:
            found[self(caption)] = True
        return found
