# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.diffusion.encode import read_prompt
from graphexec.diffusion.text import (
    CHUNK,
    Mention,
    Token,
    Weighted,
    chunk_tokens,
    mentions,
    parse_prompt,
    tokenize_prompt,
)
from graphexec.diffusion.tokenizer import END, START, ClipTokenizer
from graphexec.diffusion.types import EncoderKind

PARITY = Path(__file__).parent.parent / "data/parity"
RECORDED: list[Any] = json.loads((PARITY / "tokens.json").read_text())
EMBEDDINGS = {path.name: path for path in (PARITY / "embeddings").iterdir()}
KINDS: tuple[EncoderKind, ...] = ("clip_l", "clip_h", "clip_g")


@pytest.fixture(scope="module")
def tokenizer() -> ClipTokenizer:
    return ClipTokenizer()


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: repr(case["prompt"])[:40])
def test_recorded_prompts(tokenizer: ClipTokenizer, case: Any) -> None:
    pieces = [[piece.text, piece.weight] for piece in parse_prompt(case["prompt"])]
    assert repr(pieces) == repr(case["pieces"])
    for kind in KINDS:
        expected = [chunk["tokens"] + [[chunk["tail"], 1.0]] * chunk["count"] for chunk in case.get(kind, [])]
        if expected:  # the one prompt without any is an error in ComfyUI
            read = read_prompt(case["prompt"], kind, tokenizer, EMBEDDINGS, lambda message: None)
            assert repr([[shown(token) for token in chunk] for chunk in read.chunks]) == repr(expected)


def shown(token: Token) -> list[Any]:
    """A token as it is recorded: of a vector its width, and two numbers of it."""
    vector = token.value
    if isinstance(vector, int):
        return [vector, token.weight]
    return [{"embedding": list(vector.shape), "sum": vector.sum().item(), "first": vector[0].item()}, token.weight]


@given(st.text(st.sampled_from("ab():.1 \\"), max_size=40))
def test_any_prompt_has_pieces(prompt: str) -> None:
    for piece in parse_prompt(prompt):
        assert piece.text
        assert "\0" not in piece.text


@given(st.text(st.characters(exclude_characters="()\\\0"), min_size=1, max_size=20), st.integers(0, 6))
def test_parentheses_multiply(text: str, depth: int) -> None:
    text = text.replace(":", "") + "x"
    (piece,) = parse_prompt("(" * depth + text + ")" * depth)
    assert piece.text == text
    assert piece.weight == pytest.approx(1.1**depth)


@given(st.text(st.characters(exclude_characters="()\\\0"), min_size=1, max_size=20))
def test_escaped_parentheses_are_text(text: str) -> None:
    assert parse_prompt(f"\\({text}\\)") == [Weighted(f"({text})", 1.0)]


def test_deep_nesting_is_no_crash() -> None:
    (piece,) = parse_prompt("(" * 1500 + "x" + ")" * 1500)
    assert piece.weight == pytest.approx(1.1**1500)


def test_an_embedding_without_a_name_is_plain_text(tokenizer: ClipTokenizer) -> None:
    assert tokenize_prompt("embedding:", tokenizer)[0][1].value == tokenizer("embedding")[0]


segments = st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=200), max_size=8)


@given(segments)
def test_chunks_hold_all_tokens_in_order(segments: list[list[int]]) -> None:
    chunks = chunk_tokens([[Token(i, 2.0) for i in segment] for segment in segments])
    assert chunks
    assert all(len(chunk) == CHUNK and chunk[0].value == START and chunk[-1].value == END for chunk in chunks)
    inside = [token.value for chunk in chunks for token in chunk if token.weight == 2.0]
    assert inside == [i for segment in segments for i in segment]


@given(segments)
def test_short_segments_are_never_cut(segments: list[list[int]]) -> None:
    marked = [[Token(i, float(n)) for i in segment[:7]] for n, segment in enumerate(segments, 2)]
    where: dict[float, set[int]] = {}
    for at, chunk in enumerate(chunk_tokens(marked)):
        for token in chunk:
            where.setdefault(token.weight, set()).add(at)
    assert all(len(where[float(n)]) == 1 for n, segment in enumerate(segments, 2) if segment)


def test_mentions() -> None:
    prompt = "a embedding:one, (embedding:two and more:1.2) embedding: four\nembedding:three xembedding:no"
    named = [("one,", ""), ("two", "and more"), ("four", ""), ("three", "xembedding:no")]
    assert mentions(prompt) == [Mention(*name) for name in named]


def test_chunks_are_padded_behind_their_end() -> None:
    (chunk,) = chunk_tokens([[Token(5, 1.0)]], pad=0)
    assert [token.value for token in chunk] == [START, 5, END, *[0] * (CHUNK - 3)]
