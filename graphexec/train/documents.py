"""Files that are TOML or JSON, as their names say."""

from __future__ import annotations

import codecs
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

__all__ = ["ESCAPED", "format_of", "parse_document", "read_document", "read_text"]

MOST_BYTES = 1 << 26
"""Devices have no end."""
Format = Literal["JSON", "TOML"]

ESCAPED = "a backslash begins another letter in double quotes, so put the path between single quotes"
"""What makes a path of Windows one in TOML."""
IS_ESCAPED = ("Unescaped '\\'", "Invalid hex value")
_WEB = "a web page: download the file itself, which it may link as raw"
OTHERS = (
    (b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (b"version https://git-lfs", "a pointer of Git LFS to the file that is meant: run git lfs pull"),
    (b"<!DOCTYPE", _WEB),
    (b"<!doctype", _WEB),
    (b"<html", _WEB),
    (codecs.BOM_UTF16_LE, "text in UTF-16: save the file as UTF-8"),
    (codecs.BOM_UTF16_BE, "text in UTF-16: save the file as UTF-8"),
)
"""How files of other kinds begin, what they are, and what to do."""


def format_of(path: Path) -> Format:
    """What a file is: JSON if its name ends in .json, else TOML."""
    return "JSON" if path.suffix.lower() == ".json" else "TOML"


def parse_document(text: str, path: Path) -> object:
    """The content of a file. Raises ValueError, which says what the file is not."""
    named = format_of(path)
    try:
        return PARSERS[named](text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is no {named}: {error}{_hint(text, named, str(error))}") from error


def read_document(path: Path) -> object:
    """The content of a file. Raises OSError, and ValueError, which says what the file is not."""
    return parse_document(read_text(path, format_of(path)), path)


def read_text(path: Path, kind: str = "text") -> str:
    """The text of a file in UTF-8. Raises OSError, and ValueError for what is not of the kind or has no end."""
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES} bytes")
    for start, what in OTHERS:
        if data.startswith(start):
            raise ValueError(f"this is no {kind}, but {what}")
    if b"\0" in data:
        what = "this holds zeros, as weights, pictures and text in UTF-16 do: name a file of settings, saved as UTF-8"
        raise ValueError(what)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"this is no {kind}, which is UTF-8: {error}; save the file as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """An object whose names all differ, as TOML demands too."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} is set twice")
    return found


PARSERS: Mapping[Format, Callable[[str], object]] = {"JSON": _json, "TOML": tomllib.loads}


def _hint(text: str, named: Format, error: str) -> str:
    if error.startswith(IS_ESCAPED):
        return f"; {ESCAPED}"
    other: Format = "TOML" if named == "JSON" else "JSON"
    try:
        return f"; it is {other}, so let its name end in .{other.lower()}" if PARSERS[other](text) else ""
    except (ValueError, RecursionError):
        return ""
