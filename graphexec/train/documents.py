"""Files that are TOML or JSON, as their names say."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Literal

__all__ = ["ESCAPED", "format_of", "parse_document", "read_document", "read_text"]

MOST_LETTERS = 1 << 24
"""Devices have no end."""

ESCAPED = "a backslash begins another letter in double quotes, so put the path between single quotes"
"""What makes a path of Windows one in TOML."""
IS_ESCAPED = ("Unescaped '\\'", "Invalid hex value")


def format_of(path: Path) -> Literal["JSON", "TOML"]:
    """What a file is: JSON if its name ends in .json, else TOML."""
    return "JSON" if path.suffix.lower() == ".json" else "TOML"


def parse_document(text: str, path: Path) -> object:
    """The content of a file. Raises ValueError, which says what the file is not."""
    try:
        return json.loads(text) if format_of(path) == "JSON" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        hint = f"; {ESCAPED}" if str(error).startswith(IS_ESCAPED) else ""
        raise ValueError(f"this is no {format_of(path)}: {error}{hint}") from error


def read_document(path: Path) -> object:
    """The content of a file. Raises OSError, and ValueError, which says what the file is not."""
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"this is no {format_of(path)}, which is UTF-8: {error}") from error
    return parse_document(text, path)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8. Raises OSError, and ValueError for other bytes or more than people write."""
    with path.open(encoding="utf-8-sig") as file:
        text = file.read(MOST_LETTERS + 1)
    if len(text) > MOST_LETTERS:
        raise ValueError(f"it has more than {MOST_LETTERS} letters")
    return text
