"""Files of an earlier run that are kept where another run writes its own."""

from __future__ import annotations

from pathlib import Path

from graphexec.errors import OutputError

__all__ = ["EARLIER", "aside", "set_aside"]

EARLIER = ".earlier"


def aside(path: Path) -> Path:
    """What a file is called once it is set aside: `last.state` becomes `last.earlier.state`."""
    return path.with_name(f"{path.stem}{EARLIER}{path.suffix}")


def set_aside(path: Path) -> None:
    """Rename a file, if there is one; the one that was set aside before goes. Raises `OutputError`."""
    if not path.exists():
        return
    try:
        path.replace(aside(path))
    except OSError as error:
        raise OutputError(f"{path}: cannot be renamed to {aside(path).name} ({error.strerror or error})") from error
