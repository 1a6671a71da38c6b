"""Captions as a UNet takes them, through the text encoders that are trained with it, or kept where they are not.

A caption is plain text: parentheses are parentheses. It takes as many chunks of 75 tokens as it needs, each framed by
start and end as when pictures are made, and captions of a batch are filled up with chunks of no text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from graphexec.diffusion.encode import NORMED
from graphexec.diffusion.families import SIZE_WIDTH
from graphexec.diffusion.memory import sent
from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.unet import timestep_embedding
from graphexec.diffusion.text import CHUNK, PADDING, Token, chunk_tokens
from graphexec.diffusion.tokenizer import END, ClipTokenizer
from graphexec.diffusion.types import EncoderKind
from graphexec.train.data.cache import TensorStore, content_key
from graphexec.train.models import BaseModel

__all__ = ["Captions", "Embed", "Embedded", "KeptCaptions", "vector_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """What a UNet is told of B captions: `context` [B, 77 * chunks, C], and `pooled` [B, P] of the last encoder."""

    context: Tensor
    pooled: Tensor


Embed = Callable[[Sequence[str]], Embedded]
"""Captions to what a UNet is told."""


@dataclass(eq=False)
class Captions:
    """Encodes captions, with gradients where they are wanted.

    `warn` is told of the first caption that is cut off, of the tenth, the hundredth and so on: captions whose tags are
    shuffled are others at every use.
    """

    base: BaseModel
    warn: Callable[[str], object]
    tokenizer: ClipTokenizer = field(default_factory=ClipTokenizer)
    _cut: int = 0
    _next_told: int = 1

    def __call__(self, captions: Sequence[str]) -> Embedded:
        """Encode the captions of a batch."""
        numbers = [self._fitting(caption) for caption in captions]
        sides = [
            self._side(encoder, kind, numbers)
            for encoder, kind in zip(self.base.encoders, self.base.kinds, strict=True)
        ]
        return Embedded(torch.cat([side.context for side in sides], dim=-1), sides[-1].pooled)

    def _fitting(self, caption: str) -> list[int]:
        """The caption's tokens, as many as may be."""
        numbers = self.tokenizer(caption)
        most = self.base.source.max_token_length
        if len(numbers) > most:
            self._cut += 1
            self._tell_of_cut(
                f"a caption of {len(numbers)} tokens is cut off after {most} (max_token_length): {caption!r}"
            )
        return numbers[:most]

    def _tell_of_cut(self, message: str) -> None:
        if self._cut == self._next_told:
            self._next_told *= 10
            self.warn(message if self._cut == 1 else f"{message}; so were {self._cut - 1} before it")

    def _side(self, encoder: ClipText, kind: EncoderKind, numbers: Sequence[Sequence[int]]) -> Embedded:
        """What one encoder makes of the captions."""
        chunks = [_chunks(each, PADDING[kind]) for each in numbers]
        length = max(map(len, chunks))
        empty = _chunks((), PADDING[kind])
        rows = [chunk for each in chunks for chunk in (*each, *empty * (length - len(each)))]
        ids = sent(torch.tensor(rows), encoder.embeddings.token_embedding.weight.device)
        ends = (ids == END).int().argmax(dim=1)
        vectors = encoder.embeddings.token_embedding(ids)
        encoded = encoder(vectors, ends, self.base.layer, normed=self.base.family in NORMED)
        hidden = encoded.hidden.unflatten(0, (len(numbers), length)).flatten(1, 2)
        return Embedded(hidden, encoded.pooled[::length])


@dataclass(eq=False)
class KeptCaptions:
    """Encodes each caption once and keeps it on the host; without gradients. `key` names the encoders."""

    encode: Captions
    store: TensorStore
    key: str

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> Embedded:
        """The captions of a batch, filled up to the longest."""
        take = self.encode.base.take
        each = [self._kept(caption) for caption in captions]
        length = max(one["context"].shape[1] for one in each)
        filler = self._kept("")["context"]
        contexts = [_filled(one["context"], filler, length) for one in each]
        return Embedded(take(torch.cat(contexts)), take(torch.cat([one["pooled"] for one in each])))

    @torch.no_grad()
    def fill(self, captions: Sequence[str], watch: Callable[[int, int], object]) -> None:
        """Encode these captions and the empty one now, and take the encoders off the device.

        `watch` is told how many are done, and of how many.
        """
        every = sorted({"", *captions})
        for done, caption in enumerate(every, 1):
            self._kept(caption)
            watch(done, len(every))
        for encoder in self.encode.base.encoders:
            encoder.cpu()

    def _kept(self, caption: str) -> Mapping[str, Tensor]:
        key = content_key("text-1", self.key, caption)
        known = self.store.get(key)
        if known is None:
            fresh = self.encode([caption])
            known = {"context": fresh.context.cpu(), "pooled": fresh.pooled.cpu()}
            self.store.put(key, known)
        return known


def vector_of(pooled: Tensor, sizes: Tensor) -> Tensor:
    """SDXL's vector [B, V] of pooled text [B, P] and the numbers of pictures' sizes [B, 6], on one device."""
    told = timestep_embedding(sizes.flatten(), SIZE_WIDTH).unflatten(0, sizes.shape).flatten(1)
    return torch.cat([pooled, told.to(pooled.dtype)], dim=1)


def _chunks(numbers: Sequence[int], pad: int) -> list[list[int]]:
    """Framed chunks of token numbers, at least one."""
    framed = chunk_tokens([[Token(number, 1.0) for number in numbers]], pad)
    return [[token.value for token in chunk if isinstance(token.value, int)] for chunk in framed]


def _filled(context: Tensor, filler: Tensor, length: int) -> Tensor:
    """A caption's chunks [1, T, C] with chunks of no text up to a length."""
    return torch.cat([context, *[filler] * ((length - context.shape[1]) // CHUNK)], dim=1)
