"""JSON out of files that people edit by hand: read fast, and when something is wrong, say everything and where.

`load` uses the interpreter's C parser. Only what that refuses, or what it would let pass (a key given twice, NaN,
1e999, half a surrogate pair), goes through the parser here, which is linear, keeps its own stack and so takes any
depth, goes on after every fault that leaves a value behind, and knows the JSON path and offset of each.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

from graphexec.graph.source import SPACE, SourceText, has_surrogates, mend

__all__ = ["HOPELESS_DEPTH", "MAX_DEPTH", "MAX_DIGITS", "Fault", "Loaded", "join_pointer", "load", "parse"]

MAX_DEPTH = 200
"""Levels of lists and objects; a node's link is on the fourth."""
HOPELESS_DEPTH = 200_000
"""Levels at which reading ends: each that is open takes memory, and a large file of brackets would take all of it."""
MAX_DIGITS = 4300
"""Digits of one number; beyond, turning text into an integer takes time quadratic in their count."""

_SCALAR = re.compile(
    r"(?P<word>true|false|null)|(?P<constant>NaN|-?Infinity)"
    r"|(?P<number>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
)
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_HALF_ESCAPED = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
_FOREIGN_WORDS = {"True": "true", "False": "false", "None": "null", "undefined": "null", "nan": "null"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a JSON text: which kind, at which path of keys and indices, at which offset."""

    code: str
    message: str
    path: tuple[str, ...]
    offset: int = 0
    expected: str | None = None
    received: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a JSON text says; where a fault left no value stands null. After a syntax error it is what came before."""

    value: Any
    faults: tuple[Fault, ...] = ()
    broken: bool = False
    """The text stopped being JSON at the last fault, so `value` is not all of it."""


def load(text: str) -> Loaded:
    """Read a JSON text; never raises for what the text holds."""
    # The interpreter guards integers itself, and faster, unless someone has moved its limit.
    integer = None if sys.get_int_max_str_digits() == MAX_DIGITS else _integer
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse, parse_int=integer, parse_float=_finite
        )
    except (ValueError, RecursionError):
        return parse(text)
    if _too_nested(value) or ("\\u" in text and _HALF_ESCAPED.search(text)):
        return parse(text)
    return Loaded(value)


def parse(text: str) -> Loaded:
    """Read a JSON text and find every fault in it, in time linear in its length."""
    return _Parser(text).run()


def join_pointer(path: Iterable[str]) -> str:
    """The JSON pointer (RFC 6901) of a path of keys and indices."""
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in path)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _integer(literal: str) -> int:
    if len(literal) > MAX_DIGITS:
        raise ValueError("the number is too long")
    return int(literal)


def _finite(literal: str) -> float:
    value = float(literal)
    if len(literal) > MAX_DIGITS or math.isinf(value):
        raise ValueError("the number is too long or too large")
    return value


def _too_nested(value: Any) -> bool:
    level: list[Any] = [value] if type(value) in (dict, list) else []
    for _ in range(MAX_DEPTH):
        level = [
            item
            for container in level
            for item in (container.values() if container.__class__ is dict else container)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return False
    return True


class _BrokenError(Exception):
    """The text is not JSON from `offset` on."""

    def __init__(self, offset: int, message: str, expected: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.offset, self.message, self.expected, self.hint = offset, message, expected, hint


@dataclass(slots=True)
class _Frame:
    """A list or an object that is being read, and the key or index at which reading stands in it."""

    items: dict[str, Any] | list[Any]
    name: str | None = None
    count: int = 0
    keys: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def close(self) -> str:
        return "}" if isinstance(self.items, dict) else "]"


class _Parser:
    """A JSON parser with its own stack."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.source = SourceText(text)
        self.at = 0
        self.root: Any = None
        self.frames: list[_Frame] = []
        self.faults: list[Fault] = []
        self.strings = json.JSONDecoder()

    def run(self) -> Loaded:
        try:
            self._document()
        except _BrokenError as broken:
            self._note("invalid_json", broken.message, broken.offset, expected=broken.expected, hint=broken.hint)
            return Loaded(self.root, tuple(self.faults), broken=True)
        return Loaded(self.root, tuple(self.faults))

    def _document(self) -> None:
        self._value()
        while self.frames:
            self._member(self.frames[-1])
        if self._peek():
            raise _BrokenError(self.at, "There is more text after the end of the JSON value", "one JSON value")

    def _path(self) -> tuple[str, ...]:
        return tuple(frame.name for frame in self.frames[:MAX_DEPTH] if frame.name is not None)

    def _note(
        self,
        code: str,
        message: str,
        offset: int,
        *,
        path: tuple[str, ...] | None = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        received = self.text[offset : offset + 60].split("\n", 1)[0].rstrip(", \r")
        found = self._path() if path is None else path
        self.faults.append(Fault(code, message, found, offset, expected, received or _END, hint))

    def _peek(self) -> str:
        """The next character that is no white space, "" at the end."""
        space = cast("re.Match[str]", SPACE.match(self.text, self.at))
        self.at = space.end()
        return self.text[self.at : self.at + 1]

    def _member(self, frame: _Frame) -> None:
        char = self._peek()
        if char == frame.close:
            self.at += 1
            self.frames.pop()
            return
        if frame.count:
            self._comma(frame, char)
        frame.count += 1
        if isinstance(frame.items, dict):
            self._key(frame)
        else:
            frame.name = str(frame.count - 1)
        self._value()

    def _comma(self, frame: _Frame, char: str) -> None:
        if char != ",":
            missing = "put a comma between the two" if char in {'"', "{", "["} and char else self._advice()
            self._fail(f"',' or '{frame.close}'", missing)
        comma = self.at
        self.at += 1
        if self._peek() == frame.close:
            message = f"There is a comma before the closing '{frame.close}'"
            raise _BrokenError(comma, message, f"no comma before '{frame.close}'", "remove the comma")

    def _key(self, frame: _Frame) -> None:
        frame.name = None
        if self._peek() != '"':
            self._fail("a name in double quotes", self._advice())
        start = self.at
        name = frame.name = self._string()
        if name in frame.keys:
            line, _ = self.source.position(frame.keys[name])
            self._note(
                "duplicate_key",
                f'"{name}" is given twice in the same object; it stood on line {line} already',
                start,
                expected="each name once",
                hint="remove one of the two: readers of JSON do not agree on which one counts",
            )
        frame.keys.setdefault(name, start)
        if self._peek() != ":":
            self._fail("':'", self._advice())
        self.at += 1

    def _value(self) -> None:
        char = self._peek()
        if char == '"':
            self._attach(self._string())
        elif char == "{":
            self._open({})
        elif char == "[":
            self._open([])
        else:
            self._attach(self._scalar())

    def _attach(self, value: Any) -> None:
        if not self.frames:
            self.root = value
            return
        frame = self.frames[-1]
        if isinstance(frame.items, list):
            frame.items.append(value)
        elif frame.name is not None:
            frame.items[frame.name] = value

    def _open(self, items: dict[str, Any] | list[Any]) -> None:
        if len(self.frames) == HOPELESS_DEPTH:
            raise _BrokenError(self.at, f"Lists and objects are nested more than {HOPELESS_DEPTH:,} levels deep")
        if len(self.frames) == MAX_DEPTH:
            self._too_deep()
            self._attach(None)
        else:
            self._attach(items)
        self.at += 1
        self.frames.append(_Frame(items))

    def _too_deep(self) -> None:
        # One input, one fault, however many lists in it are too deep: four tokens name an input of a wrapped prompt.
        path = self._path()[:4]
        if not any(fault.code == "nested_too_deeply" and fault.path == path for fault in self.faults[-1:]):
            self._note(
                "nested_too_deeply",
                f"Lists and objects are nested more than {MAX_DEPTH} levels deep",
                self.at,
                path=path,
                expected=f"at most {MAX_DEPTH} levels",
                hint="write the value flat; this is mostly the work of a script gone wrong",
            )

    def _string(self) -> str:
        start = self.at
        try:
            value, self.at = cast("tuple[str, int]", self.strings.raw_decode(self.text, start))
        except json.JSONDecodeError as error:
            raise _broken_string(start, error) from None
        if has_surrogates(value):
            value = mend(value)
            self._note(
                "lone_surrogate",
                "The text holds half a character: a \\ud8..–\\udf.. escape without its other half",
                start,
                expected="both escapes of a surrogate pair, or the character itself",
                hint="write the character itself and save the file as UTF-8",
            )
        return value

    def _scalar(self) -> Any:
        found = _SCALAR.match(self.text, self.at)
        if found is None:
            self._fail("a value", self._advice())
        start, literal = self.at, found.group()
        self.at = found.end()
        if found.lastgroup == "word":
            return _WORDS[literal]
        fault = _constant_fault(literal) if found.lastgroup == "constant" else _number_fault(literal)
        if fault is None:
            return int(literal) if literal.lstrip("-").isdigit() else float(literal)
        code, message = fault
        self._note(code, message, start, expected="a finite number of at most 4300 digits", hint=_NUMBER_HINTS[code])
        return None

    def _fail(self, expected: str, hint: str | None) -> NoReturn:
        if self.at == len(self.text):
            message = f"The JSON ends too early: {expected} should follow"
            hint = "the file was cut off while it was written or copied; save it again"
        else:
            message = f"The JSON breaks off: {expected} should stand where {_word(self.text, self.at)} stands"
        raise _BrokenError(self.at, message, expected, hint)

    def _advice(self) -> str | None:
        ahead = self.text[self.at : self.at + 2]
        if ahead in {"//", "/*"} or ahead.startswith("#"):
            return "JSON knows no comments; remove it"
        if ahead.startswith("'"):
            return "JSON takes double quotes only"
        word = _word(self.text, self.at).strip("'")
        return f"write {_FOREIGN_WORDS[word]}" if word in _FOREIGN_WORDS else None


_END = "the end of the text"
_NUMBER_HINTS = {
    "not_finite_number": "write a number that the input accepts; JSON knows no NaN and no infinity",
    "number_too_long": "write the number that was meant; seeds, for one, have at most 20 digits",
}


def _constant_fault(literal: str) -> tuple[str, str]:
    return "not_finite_number", f"{literal} is not a number that JSON knows"


def _number_fault(literal: str) -> tuple[str, str] | None:
    limit = min(MAX_DIGITS, sys.get_int_max_str_digits() or MAX_DIGITS)
    digits = sum(char.isdigit() for char in literal) if len(literal) > limit else 0
    if digits > limit:
        return "number_too_long", f"The number has {digits} digits, more than {limit}"
    if math.isinf(float(literal)) and not literal.lstrip("-").isdigit():
        return "not_finite_number", f"{literal[:40]} is too large for a number: it would be read as infinity"
    return None


def _broken_string(start: int, error: json.JSONDecodeError) -> _BrokenError:
    if error.msg.startswith("Unterminated"):
        message = "The JSON ends too early: a text is not closed"
        return _BrokenError(start, message, "a double quote", "close the text with a double quote")
    if "control character" in error.msg:
        hint = "write \\n for a new line and \\t for a tab inside a text"
        return _BrokenError(error.pos, "A text holds a line break or another control character", "an escape", hint)
    hint = "write a backslash twice: \\\\"
    return _BrokenError(error.pos, "A text holds a backslash that starts no escape of JSON", "an escape", hint)


def _word(text: str, offset: int) -> str:
    found = re.compile(r"\w{1,30}|.", re.DOTALL).match(text, offset)
    return f"'{found.group()}'" if found else _END
