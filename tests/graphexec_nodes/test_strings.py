"""Nodes that hold, show and work on texts: as recorded from ComfyUI, and where it fails."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from recorded import Ran, Recording

from graphexec_nodes.primitives import preview_any
from graphexec_nodes.strings import PatternError, extract_regex, match_regex, replace_regex

RECORDED = Recording("primitive_string")
Mode = Literal["First Match", "All Matches", "First Group", "All Groups"]


@pytest.fixture(scope="module")
def ran() -> Ran:
    return RECORDED.run()


@pytest.mark.parametrize("key", RECORDED.others)
def test_recorded(key: str, ran: Ran) -> None:
    ran.compare_other(key)


class TestPatterns:
    def test_one_that_cannot_be_read_matches_nothing_and_warns(self) -> None:
        said: list[str] = []
        assert match_regex("a(", "(", warn=said.append) is False
        assert extract_regex("a(", "(", "First Match", warn=said.append) == ""
        assert len(said) == 2
        assert "'('" in said[0]

    def test_replacing_needs_one_that_can_be_read(self) -> None:
        with pytest.raises(PatternError, match="unterminated subpattern"):
            replace_regex("a", "(", "")

    @pytest.mark.parametrize("replacement", [r"\1", r"\g<name>"])
    def test_a_group_that_there_is_not(self, replacement: str) -> None:
        with pytest.raises(PatternError, match="replacement"):
            replace_regex("a", "a", replacement)

    @pytest.mark.parametrize(
        ("mode", "found"), [("First Group", ""), ("All Groups", "\nx"), ("All Matches", "\nx"), ("First Match", "a")]
    )
    def test_a_group_that_took_no_part_is_empty(self, mode: Mode, found: str) -> None:
        assert extract_regex("a xa", "(x)?a", mode, warn=pytest.fail) == found


@pytest.mark.parametrize(
    ("value", "text"),
    [("as it is", "as it is"), (True, "True"), (1e-07, "1e-07"), (None, "None"), ([1, "a"], '[1, "a"]'), ({2}, "{2}")],
)
def test_any_value_is_shown(value: Any, text: str) -> None:
    assert preview_any(value).text == (text,)
