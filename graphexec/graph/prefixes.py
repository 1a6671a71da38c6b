"""File name prefixes: what their fields stand for, and which prefixes no file can have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

__all__ = ["BATCH", "OUTSIDE", "PrefixFault", "expand_prefix", "numbered", "path_parts", "prefix_fault"]

BATCH = "%batch_num%"
LONGEST_NAME = 255
"""Bytes that file systems take for a name."""
FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')
"""What Windows does not allow in a file name."""
FIELD = re.compile(r"%(year|month|day|hour|minute|second|width|height|date(?::[^%]*)?)%")
DATE_PART = re.compile(r"yyyy|yy|MM?|dd?|hh?|mm?|ss?")


@dataclass(frozen=True, slots=True)
class PrefixFault:
    """Why no file can have a prefix, and what to do."""

    what: str
    hint: str
    outside: bool = False


OUTSIDE = PrefixFault(
    "leads out of the output folder", "name a place inside it, or choose another output folder (--output)", outside=True
)


def expand_prefix(prefix: str, now: datetime, width: int = 0, height: int = 0) -> str:
    """The path that a prefix stands for, with `/` between its parts; `%batch_num%` stays."""
    values = {
        "year": f"{now.year}",
        "month": f"{now.month:02}",
        "day": f"{now.day:02}",
        "hour": f"{now.hour:02}",
        "minute": f"{now.minute:02}",
        "second": f"{now.second:02}",
        "width": f"{width}",
        "height": f"{height}",
        "date": _date("yyyy-MM-dd", now),
    }

    def value(match: re.Match[str]) -> str:
        name, _, pattern = match.group(1).partition(":")
        return _date(pattern, now) if pattern else values[name]

    return FIELD.sub(value, prefix).replace("\\", "/")


def numbered(name: str, number: int, suffix: str) -> str:
    """The name of a file."""
    return f"{name}_{number:05}_{suffix}"


def path_parts(path: str) -> list[str]:
    """The folders of a path and, last, the name."""
    return [part for part in path.split("/") if part not in ("", ".")]


def prefix_fault(path: str, suffix: str = "") -> PrefixFault | None:
    """Why no file can have the path that a prefix stands for, followed by a number and `suffix`; None if one can."""
    parts = path_parts(path)
    bad = FORBIDDEN.search(path + suffix)
    if bad is not None:
        return PrefixFault(
            f"has the character {bad.group()!r}, which file names may not have everywhere", "leave it out"
        )
    if path.startswith("/") or ".." in parts:
        return OUTSIDE
    *folders, name = parts or [""]
    last = numbered(name.replace(BATCH, "0"), 1, suffix)
    if any(len(part.encode(errors="replace")) > LONGEST_NAME for part in (*folders, last)):
        return PrefixFault(f"makes a name of more than {LONGEST_NAME} bytes", "make it shorter")
    return None


def _date(pattern: str, now: datetime) -> str:
    values = {"M": now.month, "d": now.day, "h": now.hour, "m": now.minute, "s": now.second}

    def value(match: re.Match[str]) -> str:
        part = match.group()
        if part[0] == "y":
            return f"{now.year:04}"[-len(part) :]
        return str(values[part[0]]).zfill(len(part))

    return DATE_PART.sub(value, pattern)
