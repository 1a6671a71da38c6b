"""Files that are there whole or not at all, whenever the process is stopped."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from graphexec.errors import OutputError

__all__ = ["part_of", "write_whole"]


def part_of(path: Path, token: str) -> Path:
    """What a file is called until it is whole; a process's id is no token, for two containers may share a folder."""
    return path.with_name(f".{path.name}.{token}.part")


def write_whole(path: Path, content: bytes | Iterable[bytes], *, parents: bool = False) -> None:
    """Write a file, or replace it, on the disk itself; with `parents` its folder is made. Raises `OutputError`."""
    part = part_of(path, secrets.token_hex(8))
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:  # Ctrl-C and faults of what makes the content leave nothing behind either
        with suppress(OSError):
            part.unlink()
