"""Values of settings as they stand in TOML, JSON or on a command line, made into the type that a key wants."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from graphexec.train.documents import ESCAPED

__all__ = ["CONTROL", "Kind", "convert", "is_off", "literal", "pairs"]

Kind = Literal["flag", "int", "number", "steps", "text", "filled", "path", "words", "numbers", "ints", "size"]

CONTROL = re.compile(r"[\0-\x1f]")
"""What no name of a file has."""
MOST_PIXELS = 2**16
"""No picture has a longer side."""
CONSTANTS = ("true", "false", "none")
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


def is_off(value: object) -> bool:
    """Whether a value says that an option is not used: false, zero or nothing."""
    return value in (None, False, 0, "", "None", "none", "false", "False", "0") or value in ([], ())


def convert(kind: Kind, value: object) -> Any:
    """The value as the kind wants it; raises ValueError with what was expected."""
    return CONVERTERS[kind](value)


def pairs(words: Sequence[str]) -> dict[str, str]:
    """`key=value` words as a mapping; raises ValueError for a word without an equals sign."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"pairs like key=value, not {word!r}")
        found[key.strip()] = value.strip()
    return found


def literal(text: str) -> object:
    """What a Python literal says (`0.9,0.99` is a tuple), or true, false or none in any case; raises ValueError."""
    try:
        return cast("object", ast.literal_eval(text.title() if text.lower() in CONSTANTS else text))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError("a value like True, 0.1, (0.9, 0.99) or 'text'") from None


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    lowered = str(value).strip().lower()
    if lowered in TRUE or lowered in FALSE:
        return lowered in TRUE
    raise ValueError("true or false")


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a number")
    try:
        number = float(value)
    except ValueError:
        raise ValueError("a number") from None
    except OverflowError:
        raise ValueError("a finite number") from None
    if not math.isfinite(number):
        raise ValueError("a finite number")
    return number


def _steps(value: object) -> float:
    """A number of steps, or a part of all: `10%` is 0.1."""
    if not isinstance(value, str) or not value.strip().endswith("%"):
        return _number(value)
    try:
        part = _number(value.strip()[:-1]) / 100
    except ValueError:
        part = math.inf
    if part >= 1:
        raise ValueError("a number of steps, or a part of all below 100%")
    return part


def _int(value: object) -> int:
    try:
        number = _number(value)
    except ValueError:
        raise ValueError("a whole number") from None
    if number != int(number):
        raise ValueError("a whole number")
    try:
        return int(cast("int | str", value))  # beyond 2 ** 53 the float is rounded
    except ValueError:
        return int(number)


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("text")
    return str(value)


def _filled(value: object) -> str:
    if not (text := _text(value)):
        raise ValueError("text that is not empty")
    return text


def _path(value: object) -> Path:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a path")
    if CONTROL.search(value):
        raise ValueError(f"a path without control characters ({ESCAPED})")
    return Path(value).expanduser()


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, list | tuple):
        return tuple(str(each) for each in cast("Sequence[object]", value))
    raise ValueError("a list of texts")


def _numbers(value: object) -> tuple[float, ...]:
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if isinstance(value, list | tuple):
        return tuple(_number(each) for each in cast("Sequence[object]", value))
    return (_number(value),)


def _ints(value: object) -> tuple[int, ...]:
    return tuple(map(_int, _numbers(value)))


def _size(value: object) -> tuple[int, int]:
    try:
        numbers = [int(number) for number in _numbers(value) if number == int(number) and number > 0]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise ValueError("one size or width,height")
    if max(numbers) > MOST_PIXELS:
        raise ValueError(f"sides of at most {MOST_PIXELS} pixels")
    return numbers[0], numbers[-1]


CONVERTERS: Mapping[Kind, Callable[[object], Any]] = {
    "flag": _flag,
    "int": _int,
    "number": _number,
    "steps": _steps,
    "text": _text,
    "filled": _filled,
    "path": _path,
    "words": _words,
    "numbers": _numbers,
    "ints": _ints,
    "size": _size,
}
