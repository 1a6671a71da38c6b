"""Files that are TOML or JSON, as their names say."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Literal

__all__ = ["format_of", "parse_document", "read_document"]


def format_of(path: Path) -> Literal["JSON", "TOML"]:
    """What a file is: JSON if its name ends in .json, else TOML."""
    return "JSON" if path.suffix.lower() == ".json" else "TOML"


def parse_document(text: str, path: Path) -> object:
    """The content of a file. Raises ValueError, which says what the file is not."""
    try:
        return json.loads(text) if format_of(path) == "JSON" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is no {format_of(path)}: {error}") from error


def read_document(path: Path) -> object:
    """The content of a file. Raises OSError, and ValueError, which says what the file is not."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"this is no {format_of(path)}, which is UTF-8: {error}") from error
    return parse_document(text, path)
