"""The JSON reader: as the interpreter's own where that is happy, and complete where it is not."""

from __future__ import annotations

import json
import time
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.graph.scan import HOPELESS_DEPTH, MAX_DEPTH, Fault, join_pointer, load, parse
from graphexec.graph.source import SourceText

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)
Pairs = list[tuple[str, Any]]
keys = st.sampled_from(["a", "b", "c/d", "~"])
pairs: st.SearchStrategy[Pairs] = st.recursive(
    st.lists(st.tuples(keys, scalars), max_size=5),
    lambda inner: st.lists(st.tuples(keys, scalars | inner), max_size=5),
    max_leaves=15,
)


def codes(text: str) -> list[tuple[str, str]]:
    return [(fault.code, join_pointer(fault.path)) for fault in load(text).faults]


def only(text: str) -> Fault:
    (fault,) = load(text).faults
    return fault


def written(members: Any) -> str:
    if not isinstance(members, list):
        return json.dumps(members)
    items = cast("Pairs", members)
    return "{" + ", ".join(f"{json.dumps(key)}: {written(value)}" for key, value in items) + "}"


def repeated(members: Any, path: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if isinstance(members, list):
        items = cast("Pairs", members)
        for i, (key, value) in enumerate(items):
            if any(earlier == key for earlier, _ in items[:i]):
                found.append(("duplicate_key", join_pointer((*path, key))))
            found += repeated(value, (*path, key))
    return found


@given(values, st.sampled_from([None, 1]), st.booleans())
def test_parser_agrees_with_the_interpreters(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert parse(text).value == value
    assert parse(text).faults == ()
    assert load(text).value == value


@given(values, st.data())
def test_parser_refuses_what_the_interpreters_refuses(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.sampled_from(["", *'"{}[],:\\x1'])) + text[at + 1 :]
    try:
        json.loads(damaged)
        sound = True
    except json.JSONDecodeError:
        sound = False
    assert parse(damaged).broken is not sound
    assert load(damaged).broken is not sound


@given(pairs)
def test_every_key_given_twice_is_found_and_the_last_counts(members: Pairs) -> None:
    text = written(members)
    assert codes(text) == repeated(members)
    assert load(text).value == json.loads(text)


@given(values)
def test_every_pointer_is_found_at_its_value(value: Any) -> None:
    text = "\n " + json.dumps(value, indent=1)
    source, decoder = SourceText(text), json.JSONDecoder()
    todo: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while todo:
        path, item = todo.pop()
        offset = source.find(join_pointer(path))
        assert offset is not None
        assert decoder.raw_decode(text, offset)[0] == item
        line, column = source.position(offset)
        assert text.split("\n")[line - 1][column - 1] == text[offset]
        if isinstance(item, dict):
            members = cast("dict[str, Any]", item)
            todo += [((*path, key), member) for key, member in members.items()]
        elif isinstance(item, list):
            items = cast("list[Any]", item)
            todo += [((*path, str(i)), member) for i, member in enumerate(items)]


@pytest.mark.parametrize("pointer", ["/b", "/a/2", "/a/0/x", "/a/", "/"])
def test_a_pointer_to_nothing_finds_nothing(pointer: str) -> None:
    assert SourceText('{"a": [1, "{"]}').find(pointer) is None


@pytest.mark.parametrize(
    ("literal", "code"),
    [
        ("NaN", "not_finite_number"),
        ("Infinity", "not_finite_number"),
        ("-Infinity", "not_finite_number"),
        ("1e999", "not_finite_number"),
        ("-1E+400", "not_finite_number"),
        ("9" * 4301, "number_too_long"),
        ("0." + "3" * 5000, "number_too_long"),
        (r'"\ud83d"', "lone_surrogate"),
        (r'"\ude00\ud83d"', "lone_surrogate"),
    ],
)
def test_values_no_json_has_are_faults_and_reading_goes_on(literal: str, code: str) -> None:
    found = load(f'{{"a": [1, {literal}], "b": 2, "b": {literal}}}')
    assert [(f.code, f.path) for f in found.faults] == [(code, ("a", "1")), ("duplicate_key", ("b",)), (code, ("b",))]
    assert not found.broken


def test_numbers_at_the_limit_and_emoji_in_escapes_are_read() -> None:
    text = f'{{"n": {"9" * 4300}, "f": 1e308, "tiny": 1e-999, "s": "\\ud83d\\ude00", "t": "\\\\ud83d"}}'
    found = load(text)
    assert found.faults == ()
    assert found.value == {"n": 10**4300 - 1, "f": 1e308, "tiny": 0.0, "s": "😀", "t": "\\ud83d"}


def test_the_count_of_digits_is_said() -> None:
    assert "5000 digits" in only("-" + "1" * 5000).message


@pytest.mark.parametrize(
    ("text", "at", "hint"),
    [
        ('{"a": 1,}', 7, "remove the comma"),
        ("[1, 2, ]", 5, "remove the comma"),
        ('{"a": 1 // one\n}', 8, "no comments"),
        ('{"a": /* one */ 1}', 6, "no comments"),
        ("{'a': 1}", 1, "double quotes"),
        ('{"a": True}', 6, "write true"),
        ('{"a": None}', 6, "write null"),
        ('{"a": 1 "b": 2}', 8, "comma between"),
        ('{"a": "one\ntwo"}', 10, "\\n"),
        ('{"a": "C:\\x"}', 9, "backslash"),
        ('{"a": "one', 6, "close the text"),
        ('{"a": 1', 7, "cut off"),
    ],
)
def test_a_syntax_error_says_where_and_what_to_do(text: str, at: int, hint: str) -> None:
    fault = only(text)
    assert fault.code == "invalid_json"
    assert fault.offset == at
    assert fault.hint is not None
    assert hint in fault.hint


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"6": {"inputs": {"seed": 42,\n', ("6", "inputs")),
        ('{"6": {"inputs": {"seed": ', ("6", "inputs", "seed")),
        ('{"6": {"inputs": {"model": ["2", ', ("6", "inputs", "model", "1")),
        ('{"6": {}, "7', ()),
        ("{} x", ()),
    ],
)
def test_a_syntax_error_knows_its_path(text: str, path: tuple[str, ...]) -> None:
    assert only(text).path == path


def test_what_stood_before_a_syntax_error_is_kept() -> None:
    found = load('{"6": {"class_type": "KSampler", "a": NaN, "b": ')
    assert found.value == {"6": {"class_type": "KSampler", "a": None}}
    assert [fault.code for fault in found.faults] == ["not_finite_number", "invalid_json"]


def test_nesting_is_read_up_to_the_limit_and_no_deeper() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert load(text).faults == ()
    assert only(f"[{text}]").code == "nested_too_deeply"


@pytest.mark.parametrize("ends", ["]" * 100_000, ""])
def test_depth_does_not_recurse_and_one_value_is_one_fault(ends: str) -> None:
    text = '{"3": {"inputs": {"text": [' + "[" * 100_000 + ends + (', [[[1]]]], "seed": NaN}}}' if ends else "")
    found = load(text)
    last = "not_finite_number" if ends else "invalid_json"
    assert [fault.code for fault in found.faults] == ["nested_too_deeply", last]
    assert found.faults[0].path[:3] == ("3", "inputs", "text")


def test_reading_ends_where_nesting_is_hopeless() -> None:
    found = load("[" * (HOPELESS_DEPTH + 1) + '{"a": NaN')
    assert [fault.code for fault in found.faults] == ["nested_too_deeply", "invalid_json"]
    assert "200,000 levels" in found.faults[1].message


@pytest.mark.parametrize("unit", ['"a": 1, ', '"a": NaN, ', '"b": {"a": [1, "x"]}, "a": 1e999, '])
def test_time_is_linear_in_the_length(unit: str) -> None:
    def seconds(times: int) -> float:
        text = "{" + unit * times + '"z": 0}'
        start = time.process_time()
        faults = load(text).faults
        assert len(faults) >= times - 1
        return time.process_time() - start

    def least(times: int) -> float:
        return min(seconds(times) for _ in range(3))  # another program at work does not count

    assert least(16_000) < 40 * max(least(1_000), 0.005)
