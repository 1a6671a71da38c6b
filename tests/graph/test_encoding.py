from __future__ import annotations

import json
import math
import struct
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphexec.errors import GraphexecError
from graphexec.graph.encoding import (
    Codec,
    Undecodable,
    UnknownType,
    codec_table,
    dataclass_codec,
    decode,
    encode,
    type_name,
)
from graphexec.graph.outputs import PublishedRecord
from graphexec.node.fields import Artifact, Artifacts, Blocker

TABLE = codec_table()


class Samples:
    """Stands for a tensor."""

    def __init__(self, shape: tuple[int, ...], data: bytes) -> None:
        self.shape = shape
        self.data = data


class SamplesCodec:
    type_name = type_name(Samples)

    def dump(self, value: Samples) -> tuple[Any, list[bytes]]:
        return value.shape, [value.data]

    def load(self, tree: tuple[int, ...], blobs: list[memoryview]) -> Samples:
        (data,) = blobs
        return Samples(tree, bytes(data))


@dataclass(frozen=True)
class Latent:
    samples: Samples
    masks: tuple[Samples, ...] = ()
    note: str | None = None


class Pair(NamedTuple):
    left: int
    right: int


class Reference(GraphexecError):
    pass


def through_json(value: object, codecs: Sequence[Codec] = ()) -> Any:
    """Encode, write as a file would, read, decode."""
    table = codec_table(codecs)
    encoded = encode(value, table)
    assert encoded is not None
    tokens = json.loads(json.dumps(encoded.tokens))
    return decode(tokens, [memoryview(bytearray(blob)) for blob in encoded.blobs], table)


def same(left: Any, right: Any) -> bool:
    """Equal, of the same types all the way down, NaN by its bits, dicts in their order."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return struct.pack(">d", left) == struct.pack(">d", right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))  # pyright: ignore[reportUnknownArgumentType]
    return left == right


hashable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=True)
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.text("ab./", min_size=1).map(Path),
    lambda inner: st.lists(inner).map(tuple),
    max_leaves=5,
)
values = st.recursive(
    hashable,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(hashable, inner),
    max_leaves=20,
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.sampled_from([*"ifsbltdpc", "00", "x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=8,
)


@settings(max_examples=60)
@given(values)
def test_what_is_written_is_read(value: object) -> None:
    assert same(through_json(value), value)


CHANGED_BY_JSON: list[Any] = [
    True,
    1,
    1.0,
    -0.0,
    math.nan,
    struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0],
    -math.inf,
    -(2**63) - 1,
    "\ud83d\ude00",  # two halves that JSON would make one character
    "\udc80.png",
    {1: "int", "1": "text", (1, (2.0, None)): []},
    {1.5: ({}, [], ())},
    Path("a/\udcff"),
]


@pytest.mark.parametrize("value", CHANGED_BY_JSON)
def test_values_that_json_alone_would_change(value: object) -> None:
    assert same(through_json(value), value)


def test_an_int_has_any_number_of_digits() -> None:
    assert through_json(-(10**5000)) == -(10**5000)


@pytest.mark.parametrize(
    "value",
    [
        Artifact(b"\x89PNG", prefix="a/b", width=3, folder="temp"),
        Artifacts((Artifact(b""),), ("text",)),
        [Blocker("why"), Blocker()],
        PublishedRecord((("/out/a_00001_.png", 3, b"\0" * 32),)),
    ],
)
def test_what_any_node_may_return_has_a_codec(value: object) -> None:
    assert through_json(([value],)) == ([value],)


def test_depth_has_no_limit() -> None:
    value: Any = {}
    for _ in range(100_000):
        value = [value]
    found = through_json(value)
    depth = 0
    while found:
        (found,) = found
        depth += 1
    assert depth == 100_000
    assert found == {}


def test_a_codec_may_have_parts_and_blobs() -> None:
    codecs = [SamplesCodec(), dataclass_codec(Latent)]
    value = Latent(Samples((1, 4), b"abcd"), (Samples((0,), b""), Samples((2,), b"xy")), note="n")
    found = through_json({"latent": value, "raw": b"raw"}, codecs)
    assert found["raw"] == b"raw"
    assert type(found["latent"]) is Latent
    assert found["latent"].note == "n"
    parts = [found["latent"].samples, *found["latent"].masks]
    assert [(part.shape, part.data) for part in parts] == [((1, 4), b"abcd"), ((0,), b""), ((2,), b"xy")]


NOT_ENCODABLE: list[Any] = [
    object(),
    {1, 2},
    Pair(1, 2),
    OrderedDict[str, int](a=1),
    Samples((), b""),
    [1, {"deep": (object(),)}],
    {object(): 1},
]


@pytest.mark.parametrize("value", NOT_ENCODABLE)
def test_what_has_no_codec_is_not_written(value: object) -> None:
    assert encode(value, TABLE) is None


def test_what_contains_itself_is_not_written() -> None:
    value: list[Any] = []
    value.append(value)
    assert encode(value, TABLE) is None


def test_a_later_codec_takes_the_place_of_an_earlier_one() -> None:
    class Other(SamplesCodec):
        def load(self, tree: tuple[int, ...], blobs: list[memoryview]) -> Samples:
            return Samples(tree, b"other")

    assert through_json(Samples((), b"x"), [SamplesCodec(), Other()]).data == b"other"


def test_a_class_without_codec_is_told_from_damage() -> None:
    with pytest.raises(UnknownType, match=r"os\.system"):
        decode(["ls", ["c", "os.system", 0, 0]], [], TABLE)


def test_what_a_codec_finds_no_longer_true_passes_through() -> None:
    class Stale(SamplesCodec):
        def load(self, tree: object, blobs: list[memoryview]) -> Samples:
            raise Reference("the file has changed")

    with pytest.raises(Reference):
        through_json(Samples((), b""), [Stale()])


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [1, 2],
        [["l", 1]],
        [["l", -1]],
        [1, ["l", True], ["t", None]],
        [[], ["q"]],
        [["q"]],
        [{"a": 1}],
        [["i", "zz"]],
        [["f", "00"]],
        [["s", "ff"]],
        [["b", 0]],
        [["b"]],
        [1, ["p"]],
        [["l", 0], 1, ["d", 1]],
        ["no fields", ["c", type_name(Artifact), 0, 0]],
        ["key", 1, ["d", 1], ["c", type_name(Artifact), 0, 0]],
        [None, ["c", 3, 0, 0]],
    ],
    ids=repr,
)
def test_tokens_that_make_no_sense_are_refused(tokens: list[Any]) -> None:
    with pytest.raises(Undecodable):
        decode(tokens, [], TABLE)


@given(st.lists(json_values))
def test_any_json_gives_a_value_or_a_refusal(tokens: list[Any]) -> None:
    with suppress(Undecodable):
        decode(tokens, [memoryview(b"x")], TABLE)
