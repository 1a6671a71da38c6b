"""Where the values of a JSON text stand in it."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from functools import cached_property
from typing import cast

__all__ = ["SPACE", "SourceText", "has_surrogates", "mend"]

SPACE = re.compile(r"[ \t\n\r]*+")
"""White space of JSON."""
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],:]|[^\s{}\[\],:"]++', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


def has_surrogates(value: str) -> bool:
    """Whether a text holds halves of characters, which no file can."""
    return not value.isascii() and _SURROGATE.search(value) is not None


def mend(value: str) -> str:
    """The text with every half of a character replaced by U+FFFD."""
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class SourceText:
    """A JSON text that tells where its values stand; it looks only into the objects it is asked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._places: dict[int, dict[str, int]] = {}

    @cached_property
    def _line_ends(self) -> list[int]:
        return [match.start() for match in re.finditer("\n", self.text)]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, of an offset."""
        line = bisect_left(self._line_ends, offset)
        start = self._line_ends[line - 1] + 1 if line else 0
        return line + 1, offset - start + 1

    def find(self, pointer: str) -> int | None:
        """The offset at which the value of a JSON pointer starts, None where there is no such value."""
        offset = cast("re.Match[str]", SPACE.match(self.text)).end()
        for token in pointer.split("/")[1:]:
            places = self._children(offset)
            name = token.replace("~1", "/").replace("~0", "~")
            if name not in places:
                return None
            offset = places[name]
        return offset

    def _children(self, offset: int) -> dict[str, int]:
        if offset not in self._places:
            self._places[offset] = _children(self.text, offset)
        return self._places[offset]


def _children(text: str, start: int) -> dict[str, int]:
    """Where the members of the list or object at `start` stand; of a key given twice, the last counts."""
    found: dict[str, int] = {}
    keyed = text[start : start + 1] == "{"
    if not keyed and text[start : start + 1] != "[":
        return found
    depth, count, name = 0, 0, None if keyed else "0"
    for token in _TOKEN.finditer(text, start):
        char = text[token.start()]
        if char in "]}":
            depth -= 1
            if depth == 0:
                break
        elif char == "," and depth == 1:
            count += 1
            name = None if keyed else str(count)
        elif char not in ",:":
            name = _take(found, name, token) if depth == 1 else name
            depth += char in "[{"
    return found


def _take(found: dict[str, int], name: str | None, token: re.Match[str]) -> str:
    if name is None:
        return mend(json.loads(token.group()))
    found[name] = token.start()
    return name
