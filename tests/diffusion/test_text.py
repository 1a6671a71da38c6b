from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.diffusion.text import CHUNK, Token, Weighted, chunk_tokens, parse_prompt, tokenize_prompt
from graphexec.diffusion.tokenizer import END, START, ClipTokenizer

RECORDED: list[Any] = json.loads((Path(__file__).parent.parent / "data/parity/tokens.json").read_text())


@pytest.fixture(scope="module")
def tokenizer() -> ClipTokenizer:
    return ClipTokenizer()


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: repr(case["prompt"])[:40])
def test_recorded_prompts(tokenizer: ClipTokenizer, case: Any) -> None:
    pieces = [[piece.text, piece.weight] for piece in parse_prompt(case["prompt"])]
    assert repr(pieces) == repr(case["pieces"])
    chunks = [[[token.id, token.weight] for token in chunk] for chunk in tokenize_prompt(case["prompt"], tokenizer)]
    expected = [chunk["tokens"] + [[END, 1.0]] * chunk["padding"] for chunk in case["chunks"]]
    assert repr(chunks) == repr(expected)


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


def test_an_embedding_is_plain_text(tokenizer: ClipTokenizer) -> None:
    assert tokenize_prompt("embedding:", tokenizer)[0][1].id == tokenizer("embedding")[0]


segments = st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=200), max_size=8)


@given(segments)
def test_chunks_hold_all_tokens_in_order(segments: list[list[int]]) -> None:
    chunks = chunk_tokens([[Token(i, 2.0) for i in segment] for segment in segments])
    assert chunks
    assert all(len(chunk) == CHUNK and chunk[0].id == START and chunk[-1].id == END for chunk in chunks)
    inside = [token.id for chunk in chunks for token in chunk if token.weight == 2.0]
    assert inside == [i for segment in segments for i in segment]


@given(segments)
def test_short_segments_are_never_cut(segments: list[list[int]]) -> None:
    marked = [[Token(i, float(n)) for i in segment[:7]] for n, segment in enumerate(segments, 2)]
    where: dict[float, set[int]] = {}
    for at, chunk in enumerate(chunk_tokens(marked)):
        for token in chunk:
            where.setdefault(token.weight, set()).add(at)
    assert all(len(chunks) == 1 for weight, chunks in where.items() if weight != 1.0)
