"""What is wrong with pictures that are to get captions."""

from __future__ import annotations

from graphexec.errors import GraphexecError

__all__ = ["CaptionError"]


class CaptionError(GraphexecError):
    """Pictures cannot be captioned as asked; the message names them."""
