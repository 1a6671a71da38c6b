"""JSON in memory obeys the rules of JSON in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.graph.inmemory import copy_json
from graphexec.graph.scan import MAX_DEPTH, load

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a", "ß", "\ud83d"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3), max_leaves=9
)


@given(st.dictionaries(st.text("ab"), values, max_size=3))
def test_it_finds_what_reading_a_file_finds(document: dict[str, Any]) -> None:
    copied, read = copy_json(document), load(json.dumps(document))
    assert copied.value == read.value
    assert [(f.code, f.path) for f in copied.faults] == [(f.code, f.path) for f in read.faults]


def test_it_is_a_copy_with_texts_for_keys_and_lists_for_tuples() -> None:
    document: dict[Any, Any] = {1: {"a": ("2", [0])}}
    copied = copy_json(document).value
    assert copied == {"1": {"a": ["2", [0]]}}
    document[1]["a"][1].append(5)
    assert copied == {"1": {"a": ["2", [0]]}}


@pytest.mark.parametrize(
    ("document", "code", "path"),
    [
        ({"a": Path("x")}, "not_json", ("a",)),
        ({"a": {2.5: 1}}, "not_json", ("a",)),
        ({1: 1, "1": 2}, "duplicate_key", ("1",)),
        ({"a": 10**4301}, "number_too_long", ("a",)),
        ({"a": [float("nan")]}, "not_finite_number", ("a", "0")),
    ],
)
def test_what_no_file_could_hold(document: dict[Any, Any], code: str, path: tuple[str, ...]) -> None:
    assert [(f.code, f.path) for f in copy_json(document).faults] == [(code, path)]


def test_depth_does_not_recurse_and_a_ring_ends() -> None:
    deep: list[Any] = []
    ring: list[Any] = []
    ring.append(ring)
    for _ in range(100_000):
        deep = [deep]
    found = copy_json({"a": deep, "b": ring})
    assert [(f.code, f.path[:1]) for f in found.faults] == [
        ("nested_too_deeply", ("a",)),
        ("nested_too_deeply", ("b",)),
    ]
    level = found.value["a"]
    for _ in range(MAX_DEPTH - 2):
        (level,) = level
    assert level == [None]
