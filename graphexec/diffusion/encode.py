"""Prompts to conditioning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from graphexec.diffusion.embeddings import find_word, read_embedding
from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.hooks import clip_segments, hook_warnings
from graphexec.diffusion.models.clip import ClipText, Encoded
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.text import CHUNK, PADDING, Token, chunk_tokens, tokenize_prompt
from graphexec.diffusion.tokenizer import END, ClipTokenizer
from graphexec.diffusion.types import Clip, Cond, Conditioning, EncoderKind, Family, SizeHint, TextEncoder
from graphexec.diffusion.weighting import Chunks, weigh
from graphexec.errors import ModelFileError

__all__ = ["Prompt", "Tokenized", "encode_feature", "encode_prompt", "read_prompt"]

Prompt = str | Mapping[EncoderKind, str]
"""A text for all encoders, or one for each."""

Warn = Callable[[str], object]
"""Told of what does not stop the work."""


NORMED: frozenset[Family] = frozenset({"sd1", "sd2"})
"""Families whose UNets attend to a layer's output after the final norm, whichever layer that is."""


def encode_prompt(
    runtime: Runtime,
    clip: Clip,
    prompt: Prompt,
    *,
    embeddings: Mapping[str, Path] | None = None,
    size: SizeHint | None = None,
    warn: Warn = lambda message: None,
) -> Conditioning:
    """Encode a prompt: one cond [1, 77 * chunks, C], its pooled output that of the last encoder's first chunk.

    Args:
        runtime: holds the networks.
        clip: the encoders; their embeddings are joined along the channels, the shorter one filled up with no text.
        prompt: one text, or one for each kind of encoder.
        embeddings: what files of embeddings there are, by the names that prompts know them by.
        size: what SDXL is told of the picture's size.
        warn: told of embeddings that are missing or do not fit.

    Scheduled hooks of the encoders give a cond for each of their strengths. Raises `ModelFileError` if an encoder has
    no text or an embedding cannot be read.
    """
    sides = [
        read_prompt(_text_for(encoder, prompt), encoder.kind, runtime.tokenizer, embeddings or {}, warn)
        for encoder in clip.encoders
    ]
    length = max(len(side.chunks) for side in sides)
    filled = [side.filled(length) for side in sides]
    hooks = clip.hooks.hooks if clip.hooks else ()
    for warning in hook_warnings(hooks, None, replace(clip, hooks=None), strict_lora=runtime.strict_lora):
        warn(warning)
    hooks = clip.hooks if clip.led_by_hooks else None
    return Conditioning(
        tuple(
            replace(_encode(runtime, part.clip, filled, warn), size=size, hooks=hooks, span=(part.start, part.end))
            for part in clip_segments(clip)
        )
    )


def encode_feature(
    runtime: Runtime,
    clip: Clip,
    prompt: str,
    *,
    embeddings: Mapping[str, Path] | None = None,
    warn: Warn = lambda message: None,
) -> Tensor:
    """What a text is as a whole [1, C]: the last encoder's pooled output of its first chunk, before any projection."""
    # A box has one feature for the whole run: hooks count as they do at the start.
    clip = clip_segments(clip)[0].clip
    encoder = clip.encoders[-1]
    side = read_prompt(prompt, encoder.kind, runtime.tokenizer, embeddings or {}, warn)
    with runtime.text_encoder(encoder, clip.patches, warn=warn) as network, torch.no_grad():
        chunks = side.fitting(network.layout.width, warn)[:1]
        hidden = _run(runtime, network, chunks).hidden.cpu()
        return hidden[torch.arange(1), _ends(chunks)]


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A prompt as an encoder of a kind takes it, and how wide the vectors of its embeddings are, by their names."""

    kind: EncoderKind
    chunks: list[list[Token]]
    widths: Mapping[str, int]

    def filled(self, length: int) -> Tokenized:
        """The same with chunks of no text, so that there are `length`."""
        missing = length - len(self.chunks)
        return replace(self, chunks=[*self.chunks, *chunk_tokens((), PADDING[self.kind]) * missing])

    def fitting(self, width: int, warn: Warn) -> list[list[Token]]:
        """The chunks without vectors that are not `width` wide; what follows them moves up, with its weight.

        ComfyUI moves the tokens up and leaves the weights where they were.
        """
        for name, own in self.widths.items():
            if own != width:
                warn(f"embedding {name!r} is {own} wide, but {self.kind} takes {width}; it is left out there")
        pad = Token(PADDING[self.kind], 1.0)
        kept = [[token for token in chunk if _width(token) in (None, width)] for chunk in self.chunks]
        return [[*chunk, *[pad] * (CHUNK - len(chunk))] for chunk in kept]


def read_prompt(
    prompt: str, kind: EncoderKind, tokenizer: ClipTokenizer, embeddings: Mapping[str, Path], warn: Warn
) -> Tokenized:
    """A prompt as tokens, with the vectors of the embeddings that it names; `warn` is told of missing ones."""
    widths: dict[str, int] = {}

    def embed(word: str) -> tuple[Sequence[Tensor], str]:
        name, behind = find_word(word, embeddings)
        if name is None:
            warn(f"there is no file {word!r} in embeddings; the text goes without it")
            return (), behind
        vectors = read_embedding(embeddings[name], kind)
        widths[name] = vectors.shape[-1]
        return vectors.unbind(), behind

    return Tokenized(kind, tokenize_prompt(prompt, tokenizer, embed, PADDING[kind]), widths)


def _encode(runtime: Runtime, clip: Clip, sides: Sequence[Tokenized], warn: Warn) -> Cond:
    """The cond of a prompt's sides, one for each encoder, all of as many chunks."""
    encoded = [
        _encode_side(runtime, clip, encoder, side, warn) for encoder, side in zip(clip.encoders, sides, strict=True)
    ]
    embedding = torch.cat([one.hidden for one in encoded], dim=-1)
    return Cond(embedding.flatten(0, 1)[None].cpu(), encoded[-1].pooled.cpu())


def _encode_side(runtime: Runtime, clip: Clip, encoder: TextEncoder, side: Tokenized, warn: Warn) -> Encoded:
    """The weighted embedding [B, T, C] of all chunks, and the pooled output [1, C] of the first."""
    layer = FAMILIES[clip.family].last_layer if clip.last_layer is None else clip.last_layer
    normed = clip.family in NORMED
    with runtime.text_encoder(encoder, clip.patches, warn=warn) as network, torch.no_grad():
        if -layer > network.layout.layers:
            warn(f"{encoder.kind} has {network.layout.layers} layers; its last one is taken, not number {layer}")

        def encode(chunks: Chunks, keep: Tensor | None = None) -> Encoded:
            return _run(runtime, network, chunks, layer, normed=normed, keep=keep)

        chunks = side.fitting(network.layout.width, warn)
        plain = encode(chunks)
        empty = chunk_tokens((), PADDING[encoder.kind])
        hidden = weigh(clip.weighting, chunks, plain.hidden, empty, lambda some, keep: encode(some, keep).hidden)
        return Encoded(hidden, plain.pooled[:1])


def _run(
    runtime: Runtime,
    network: ClipText,
    chunks: Chunks,
    layer: int = -1,
    *,
    normed: bool = True,
    keep: Tensor | None = None,
) -> Encoded:
    """What an encoder in use makes of chunks, within the memory there is."""

    def compute() -> Encoded:
        ends = _ends(chunks).to(runtime.device)
        return network(_vectors(network, chunks, runtime.device), ends, layer, normed=normed, keep=keep)

    return runtime.within_memory(compute, "encoding the prompt", network=network)


def _text_for(encoder: TextEncoder, prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    if encoder.kind not in prompt:
        raise ModelFileError(
            f"{encoder.file.path}: this is the text encoder {encoder.kind}, for which there is no text, only for"
            f" {' and '.join(prompt)}; use CLIPTextEncode"
        )
    return prompt[encoder.kind]


def _width(token: Token) -> int | None:
    """How wide the vector is that a token brings along."""
    return None if isinstance(token.value, int) else token.value.shape[-1]


def _vectors(network: ClipText, chunks: Chunks, device: torch.device) -> Tensor:
    """The tokens' vectors [B, T, C]; the device is the one that computes, not the one where weights may wait."""
    ids = [[token.value if isinstance(token.value, int) else 0 for token in chunk] for chunk in chunks]
    vectors = network.embeddings.token_embedding(torch.tensor(ids, device=device))
    for row, chunk in zip(vectors, chunks, strict=True):
        for i, token in enumerate(chunk):
            if not isinstance(token.value, int):
                row[i] = token.value
    return vectors


def _ends(chunks: Chunks) -> Tensor:
    """Where each chunk's first end token is, [B]."""
    places = [
        next(i for i, token in enumerate(chunk) if isinstance(token.value, int) and token.value == END)
        for chunk in chunks
    ]
    return torch.tensor(places)
