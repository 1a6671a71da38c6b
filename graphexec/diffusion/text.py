"""The prompt language: weights in parentheses, embeddings, and the chunks of tokens that a text encoder takes.

`(text)` multiplies the weight by 1.1, `(text:1.3)` sets it, `\\(` and `\\)` are plain parentheses. A word
`embedding:name` stands for the vectors of a file (textual inversion, Gal et al. 2022). Importing this imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphexec.diffusion.tokenizer import END, START
from graphexec.diffusion.types import EncoderKind

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "CHUNK",
    "PADDING",
    "Mention",
    "Token",
    "Weighted",
    "chunk_tokens",
    "mentions",
    "parse_prompt",
    "tokenize_prompt",
]

CHUNK = 77
"""Tokens the text encoder takes at once, start and end included."""
PADDING: Mapping[EncoderKind, int] = {"clip_l": END, "clip_h": 0, "clip_g": 0}
"""What fills a chunk after its end token."""
LONG_WORD = 8
"""A segment of at least so many tokens may be cut between two chunks; a shorter one moves to the next whole."""
EMPHASIS = 1.1
MARK = "embedding:"

HIDDEN = {r"\(": "\0\1", r"\)": "\0\2"}


@dataclass(frozen=True, slots=True)
class Weighted:
    """A piece of a prompt and its weight."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a prompt that may hold parentheses of its own."""

    text: str
    weight: float
    nested: bool


@dataclass(frozen=True, slots=True)
class Mention:
    """A word that names an embedding, and the text behind it."""

    name: str
    rest: str


@dataclass(frozen=True, slots=True)
class Token:
    """A number of the vocabulary or a vector [C] in its place, its weight, and the prompt's piece that it is of.

    Pieces count from 1; the tokens that frame a chunk are of piece 0.
    """

    value: int | Tensor
    weight: float
    piece: int = 0


def parse_prompt(prompt: str) -> list[Weighted]:
    """The pieces of a prompt with their weights, in order, unescaped."""
    for written, hidden in HIDDEN.items():
        prompt = prompt.replace(written, hidden)
    pieces: list[Weighted] = []
    todo = [Piece(prompt, 1.0, nested=True)]
    while todo:
        piece = todo.pop()
        if piece.nested:
            todo.extend(reversed([_weigh(part, piece.weight) for part in _split(piece.text)]))
        else:
            pieces.append(Weighted(_unhide(piece.text), piece.weight))
    return pieces


Embed = Callable[[str], tuple[Sequence["Tensor"], str]]
"""Gives the vectors of the embedding that a word names, and the end of the word that is no part of the name."""


def mentions(prompt: str) -> list[Mention]:
    """The embeddings that a prompt names."""
    words = (word for piece in parse_prompt(prompt) for word in _words(piece.text))
    return [word for word in words if isinstance(word, Mention)]


def tokenize_prompt(
    prompt: str,
    tokenize: Callable[[str], Sequence[int]],
    embed: Embed = lambda name: ((), ""),
    pad: int = END,
) -> list[list[Token]]:
    """The chunks of a prompt, each `CHUNK` tokens.

    Args:
        prompt: the text.
        tokenize: gives the numbers of a text's tokens.
        embed: gives the vectors of embeddings. Without it they are left out.
        pad: what fills a chunk after its end token.
    """
    segments: list[list[Token]] = []
    for i, piece in enumerate(parse_prompt(prompt), 1):
        for word in _words(piece.text):
            vectors, text = ((), word) if isinstance(word, str) else _embedded(word, embed)
            segments.append([Token(vector, piece.weight, i) for vector in vectors])
            segments.append([Token(number, piece.weight, i) for number in tokenize(text)])
    return chunk_tokens(segments, pad)


def chunk_tokens(segments: Sequence[Sequence[Token]], pad: int = END) -> list[list[Token]]:
    """Lay segments into chunks between start and end tokens, filled up with `pad`; at least one chunk."""
    chunks: list[list[Token]] = [[]]
    room = CHUNK - 2
    for segment in segments:
        rest = list(segment)
        while rest:
            free = room - len(chunks[-1])
            fits = len(rest) <= free
            take = len(rest) if fits else free if len(rest) >= LONG_WORD else 0
            chunks[-1].extend(rest[:take])
            rest = rest[take:]
            if not fits:
                chunks.append([])
    return [_frame(chunk, pad) for chunk in chunks]


def _words(text: str) -> Iterator[str | Mention]:
    """Text cut at the words that name embeddings; a mark that no name follows is text."""
    first, *others = re.split(f"[ \\n]{MARK}", text)
    for part in (first, *(MARK + other for other in others)):
        if part.startswith(MARK) and (named := part.removeprefix(MARK).split()):
            yield Mention(named[0], " ".join(named[1:]))
        elif part:
            yield part


def _embedded(mention: Mention, embed: Embed) -> tuple[Sequence[Tensor], str]:
    """The vectors that a word stands for, and the text behind it."""
    vectors, behind = embed(mention.name)
    return vectors, f"{behind} {mention.rest}"


def _frame(tokens: Sequence[Token], pad: int) -> list[Token]:
    padding = [Token(pad, 1.0)] * (CHUNK - 2 - len(tokens))
    return [Token(START, 1.0), *tokens, Token(END, 1.0), *padding]


def _weigh(part: str, weight: float) -> Piece:
    """A part of a text of this weight: the inside of a parenthesised one, with its own weight, or plain text."""
    if len(part) < 2 or part[0] != "(" or part[-1] != ")":
        return Piece(part, weight, nested=False)
    inside, colon, number = part[1:-1].rpartition(":")
    own = _number(number) if inside and colon else None
    return Piece(part[1:-1], weight * EMPHASIS, nested=True) if own is None else Piece(inside, own, nested=True)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _split(text: str) -> Iterator[str]:
    """Cut text at its outermost parentheses; one that is never closed, or never opened, stays text."""
    start = depth = 0
    for i, char in enumerate(text):
        if char == "(":
            if depth == 0 and i > start:
                yield text[start:i]
                start = i
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                yield text[start : i + 1]
                start = i + 1
    if start < len(text):
        yield text[start:]


def _unhide(text: str) -> str:
    return text.replace("\0\1", "(").replace("\0\2", ")")
