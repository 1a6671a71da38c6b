"""PNG files without what Pillow may refuse to read in them."""

from __future__ import annotations

import struct

__all__ = ["pixels_only"]

PNG_START = b"\x89PNG\r\n\x1a\n"
BESIDE_PIXELS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
"""Chunks of PNG files that say nothing of the pixels as they are read here."""


def pixels_only(data: bytes) -> bytes:
    """A PNG file without texts and color profile; another file as it is."""
    if not data.startswith(PNG_START):
        return data
    kept, place = [PNG_START], len(PNG_START)
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        following = place + length + 12  # the length itself, the chunk's name and its checksum
        if data[place + 4 : place + 8] not in BESIDE_PIXELS:
            kept.append(data[place:following])
        place = following
    return b"".join(kept)
