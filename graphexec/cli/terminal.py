"""Whether somebody looks."""

from __future__ import annotations

import sys


def is_watched() -> bool:
    """Whether messages go to a terminal; standard error may be closed, and is None then."""
    return sys.stderr is not None and sys.stderr.isatty()  # pyright: ignore[reportUnnecessaryComparison]
