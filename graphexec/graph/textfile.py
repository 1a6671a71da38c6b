"""The bytes of a file, and the JSON in them."""

from __future__ import annotations

import codecs
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from graphexec.errors import Diagnostic, WorkflowError
from graphexec.graph.scan import Fault, Loaded, load, parse
from graphexec.graph.source import SourceText

__all__ = ["MAX_BYTES", "Document", "limited", "load_bytes", "read_bytes"]

MAX_BYTES = 64 * 1024 * 1024
"""The longest file that is read unless more is allowed."""


_UNPACK = "unpack it first"
_UTF8 = "save the file as UTF-8"
_OTHERS = (
    (rb"\x1f\x8b", "other_format", "compressed by gzip", _UNPACK),
    (rb"BZh", "other_format", "compressed by bzip2", _UNPACK),
    (rb"\xfd7zXZ\0", "other_format", "compressed by xz", _UNPACK),
    (rb"\x28\xb5\x2f\xfd", "other_format", "compressed by Zstandard", _UNPACK),
    (rb"PK\x03\x04", "other_format", "a ZIP archive", _UNPACK),
    (rb"version https://git-lfs", "other_format", "a pointer of Git LFS to the file that is meant", "run git lfs pull"),
    (rb"(?i)\s*<(!doctype )?html", "other_format", "a web page", "download the file itself, which it may link as raw"),
    (rb"(?s).{6}\0\0\{", "other_format", "a safetensors file of weights", "name a workflow that uses it"),
    (rb"\xff\xfe\0\0|\0\0\xfe\xff", "not_utf8", "UTF-32 text", _UTF8),
    (rb"[\t-~]\0\0\0|\0\0\0[\t-~]", "not_utf8", "UTF-32 text without a byte order mark", _UTF8),
    (rb"[\t-~]\0|\0[\t-~]", "not_utf8", "UTF-16 text without a byte order mark", _UTF8),
)
"""Files of other kinds: how they begin, the code of the fault, what they are, and what to do; the first counts."""


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON file: what it says, its text, and what there is to say about its encoding."""

    loaded: Loaded
    text: SourceText
    notes: tuple[Diagnostic, ...] = ()


def read_bytes(source: str | Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a file or, for "-", of standard input.

    Raises WorkflowError for a file that is not there, cannot be read or is longer than `max_bytes`.
    """
    try:
        if source == "-":
            if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - so it is where it was closed
                raise ValueError("standard input is closed")
            return limited(sys.stdin.buffer.read(max_bytes + 1), source, max_bytes)
        with Path(source).open("rb") as file:
            return limited(file.read(max_bytes + 1), source, max_bytes)
    except (FileNotFoundError, NotADirectoryError):
        raise _not_found(source) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        message = f"The file {source} cannot be read: {why}"
        raise WorkflowError([Diagnostic(code="file_unreadable", message=message)]) from error


def limited(data: bytes, source: str | Path, max_bytes: int) -> bytes:
    """The data, unless there is more of it than `max_bytes`: then it raises WorkflowError."""
    if len(data) > max_bytes:
        message = f"{source} is longer than {max_bytes} bytes"
        hint = "is it a workflow? Those of ComfyUI have some hundred kilobytes"
        expected = f"at most {max_bytes} bytes"
        raise WorkflowError([Diagnostic(code="file_too_large", message=message, expected=expected, hint=hint)])
    return data


def _not_found(source: str | Path) -> WorkflowError:
    hint = f"look for a typing error in the name; it is taken relative to {Path.cwd()}"
    message = f"There is no file {source}"
    return WorkflowError([Diagnostic(code="file_not_found", message=message, hint=hint, missing_file=True)])


def load_bytes(data: bytes, name: str, what: str = "a workflow") -> Document:
    """Read the JSON in the bytes of a file: UTF-8, or with a byte order mark UTF-16.

    Raises WorkflowError for an empty file, or one of another kind, where `what` was expected; everything else that is
    wrong is in the result.
    """
    for start, code, kind, hint in _OTHERS:
        if re.match(start, data):
            found = Diagnostic(code=code, message=f"{name} is {kind}", expected=f"{what} in JSON, UTF-8", hint=hint)
            raise WorkflowError([found])
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16") if utf16 else data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        return _undecodable(error)
    if not text.strip(" \t\r\n\0"):
        hint = "save or export it again"
        message = f"{name} is empty"
        raise WorkflowError([Diagnostic(code="empty_file", message=message, expected=f"{what} in JSON", hint=hint)])
    encoding = "UTF-16" if utf16 else "UTF-8 with a byte order mark"
    marked = utf16 or data.startswith(codecs.BOM_UTF8)
    return Document(load(text), SourceText(text), (_mark(encoding),) if marked else ())


def _mark(encoding: str) -> Diagnostic:
    return Diagnostic(
        code="byte_order_mark",
        message=f"The file is {encoding}; other programs, ComfyUI among them, refuse that",
        severity="warning",
        expected="UTF-8",
        received=encoding,
        hint="save the file as UTF-8 without BOM",
    )


def _undecodable(error: UnicodeDecodeError) -> Document:
    # Cut off before the bad bytes, the text tells in which node and input they are.
    before = error.object[: error.start].decode(error.encoding, "replace")
    loaded = parse(before)
    bad = error.object[error.start : error.end][:8]
    fault = Fault(
        "not_utf8",
        f"The file is not {error.encoding.upper()} text: it has bytes here that stand for no character",
        loaded.faults[-1].path if loaded.broken else (),
        len(before),
        expected="UTF-8",
        received=" ".join(f"0x{byte:02x}" for byte in bad),
        hint="save the file as UTF-8; it may be in an older encoding such as Latin-1 (Windows-1252)",
    )
    earlier = loaded.faults[:-1] if loaded.broken else loaded.faults
    return Document(replace(loaded, faults=(*earlier, fault), broken=True), SourceText(before))
