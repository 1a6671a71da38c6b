"""Sizes in bytes."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.cli.sizes import parse_size, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000", 1000),
        ("12 B", 12),
        ("5GB", 5_000_000_000),
        ("5 gb", 5_000_000_000),
        ("1.5M", 1_500_000),
        ("1KiB", 1024),
        ("2GiB", 2 * 1024**3),
        ("1tb", 10**12),
    ],
)
def test_parse_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "5 PB", "1e9", "5GBs", "nan"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 KB"), (1_500_000, "1.5 MB"), (999_999, "1 MB"), (5 * 10**15, "5000 TB")],
)
def test_show_size(size: int, text: str) -> None:
    assert show_size(size) == text


@given(st.integers(0, 10**14))
def test_what_is_shown_is_the_size_within_a_percent(size: int) -> None:
    assert abs(parse_size(show_size(size)) - size) <= size / 100
