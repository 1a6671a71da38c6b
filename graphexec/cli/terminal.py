"""Whether somebody looks, and who may write where."""

from __future__ import annotations

import io
import sys
from contextlib import AbstractContextManager, redirect_stdout
from typing import TextIO


def is_watched() -> bool:
    """Whether messages go to a terminal; standard error may be closed, and is None then."""
    return sys.stderr is not None and sys.stderr.isatty()  # pyright: ignore[reportUnnecessaryComparison]


def others_on_stderr() -> AbstractContextManager[TextIO]:
    """What nodes and their packs print inside goes to standard error: standard output is for what the command says."""
    return redirect_stdout(sys.stderr or io.StringIO())
