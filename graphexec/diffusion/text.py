"""The prompt language: weights in parentheses, and cutting tokens into chunks that the text encoder takes.

`(text)` multiplies the weight by 1.1, `(text:1.3)` sets it, `\\(` and `\\)` are plain parentheses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from graphexec.diffusion.tokenizer import END, START

__all__ = ["CHUNK", "Token", "Weighted", "chunk_tokens", "parse_prompt", "tokenize_prompt"]

CHUNK = 77
"""Tokens the text encoder takes at once, start and end included."""
LONG_WORD = 8
"""A segment of at least so many tokens may be cut between two chunks; a shorter one moves to the next whole."""
EMPHASIS = 1.1

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
class Token:
    """A token id and its weight."""

    id: int
    weight: float


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


def tokenize_prompt(prompt: str, tokenize: Callable[[str], Sequence[int]]) -> list[list[Token]]:
    """The chunks of a prompt, each `CHUNK` tokens."""
    segments = [[Token(i, piece.weight) for i in tokenize(piece.text)] for piece in parse_prompt(prompt)]
    return chunk_tokens(segments)


def chunk_tokens(segments: Sequence[Sequence[Token]]) -> list[list[Token]]:
    """Lay segments into chunks between start and end tokens, padded with end tokens; at least one chunk."""
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
    return [_frame(chunk) for chunk in chunks]


def _frame(tokens: Sequence[Token]) -> list[Token]:
    padding = [Token(END, 1.0)] * (CHUNK - 1 - len(tokens))
    return [Token(START, 1.0), *tokens, *padding]


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
