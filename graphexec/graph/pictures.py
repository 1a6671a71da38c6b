"""The workflow that ComfyUI leaves in the metadata of a picture; no pixel is decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any, cast

from graphexec.errors import DAMAGED_PICTURE, Diagnostic, WorkflowError
from graphexec.graph.scan import load

__all__ = ["MAX_TEXT", "picture_kind", "workflow_in_picture"]

MAX_TEXT = 64 * 1024 * 1024
"""Bytes of one text of the metadata, unpacked."""

_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF_KEYS = ("prompt", "workflow")


def picture_kind(data: bytes) -> str | None:
    """PNG, JPEG, WebP or AVIF by the first bytes of a file, None for anything else."""
    if data.startswith(_PNG):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return "AVIF" if data[4:12] in (b"ftypavif", b"ftypavis") else None


def workflow_in_picture(data: bytes, name: str) -> tuple[str, dict[str, Any]]:
    """The API-format JSON text in a picture, and what else belongs into the metadata of pictures made from it.

    Raises WorkflowError where the picture holds no such text or cannot be read.
    """
    kind = picture_kind(data)
    texts = _png_texts(data, name) if kind == "PNG" else _exif_texts(data, name)
    if "prompt" not in texts:
        raise _no_workflow(name, kind or "file", texts)
    extra = {key: _json_or_text(text) for key, text in texts.items() if key == "workflow"}
    return texts["prompt"], extra


def _json_or_text(text: str) -> Any:
    # What cannot be read without loss stays the text it was, so that copying it on loses nothing.
    loaded = load(text)
    return text if loaded.faults else loaded.value


def _no_workflow(name: str, kind: str, texts: Mapping[str, str]) -> WorkflowError:
    if "workflow" in texts:
        message = f"{name} holds a workflow in ComfyUI's UI format only (nodes and links), which is not what runs"
        hint = "open the picture in ComfyUI and use 'Export (API)'"
    else:
        message = f"The {kind} picture {name} holds no workflow"
        hint = "programs that edit pictures drop it: take the file that ComfyUI wrote, or the workflow's JSON"
    return _error("no_workflow_in_picture", message, "a text 'prompt' in the picture's metadata", hint)


def _error(code: str, message: str, expected: str, hint: str) -> WorkflowError:
    return WorkflowError([Diagnostic(code=code, message=message, expected=expected, hint=hint)])


def _png_texts(data: bytes, name: str) -> dict[str, str]:
    # Pillow shows texts behind the pixels only after it has decoded these, so the chunks are walked here.
    texts: dict[str, str] = {}
    for kind, body in _png_chunks(data):
        try:
            key, text = _png_text(kind, body)
        except (zlib.error, ValueError, struct.error) as error:
            raise _unreadable(name, f"its {kind.decode()} chunk is damaged ({error})") from error
        if len(text) > MAX_TEXT:
            raise _unreadable(name, f"its text {key!r} is longer than {MAX_TEXT >> 20} MiB")
        texts.setdefault(key, _utf8(text))
    if "prompt" not in texts and b"IEND" not in data:
        raise _unreadable(name, "it is cut off, perhaps before its workflow")
    return texts


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """The text chunks of a PNG (W3C PNG 1.2, section 11.3.4)."""
    at, view = len(_PNG), memoryview(data)
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            yield kind, view[at + 8 : at + 8 + size]
        at += 12 + size


def _png_text(kind: bytes, body: memoryview) -> tuple[str, bytes]:
    key, rest = bytes(body).split(b"\0", 1)
    if kind == b"tEXt":
        return key.decode("latin-1"), rest
    if kind == b"zTXt":
        return key.decode("latin-1"), _inflate(rest[1:])
    packed, rest = rest[:1] == b"\x01", rest[2:]
    _, _, text = rest.split(b"\0", 2)
    return key.decode("latin-1"), _inflate(text) if packed else text


def _inflate(packed: bytes) -> bytes:
    # One byte more than is allowed, so that the caller can tell that there was more.
    return zlib.decompressobj().decompress(packed, MAX_TEXT + 1)


def _utf8(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _exif_texts(data: bytes, name: str) -> dict[str, str]:
    """Texts as ComfyUI writes them: "prompt:{…}" in the tag Model, "workflow:{…}" in Make or a tag below it."""
    texts: dict[str, str] = {}
    for value in _exif_values(data, name):
        key, _, text = value.partition(":")
        if key.lower() in _EXIF_KEYS and text:
            # Pillow reads the bytes of such a tag as Latin-1, whatever they are.
            texts.setdefault(key.lower(), _utf8(text.encode("latin-1")))
    return texts


def _exif_values(data: bytes, name: str) -> list[str]:
    from PIL import Image, UnidentifiedImageError

    bomb = Image.DecompressionBombError
    try:
        with Image.open(BytesIO(data)) as picture:
            exif = cast("Mapping[int, object]", picture.getexif())
            return [value for value in exif.values() if isinstance(value, str)]
    except UnidentifiedImageError as error:  # what it says has an address in memory
        raise _unreadable(name, "it is cut off, or of a kind that Pillow does not know here") from error
    except (*DAMAGED_PICTURE, bomb) as error:
        raise _unreadable(name, str(error)) from error


def _unreadable(name: str, why: str) -> WorkflowError:
    message = f"The picture {name} cannot be read: {why}"
    return _error("unreadable_picture", message, "a whole PNG, JPEG, WebP or AVIF file", "copy the file again")
