"""Merkle keys: what a node will return, named by a hash of all that decides it.

In the key: the node's name, its version and code, the version of its pack, its constants tagged by type (1, 1.0 and
true differ), the content of its model files, its fingerprint, the key and slot of every link (lazy ones too, taken or
not), and its id if it asks for it. Not in the key: node ids, titles, positions, progress, the workflow's metadata,
folders and file names (a renamed file is the same file), and inputs that the node does not declare.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from graphexec.node.spec import NodeSpec

FORMAT = b"graphexec-key-1"


class Unhashable(Exception):
    """A value has no canonical form, so nothing that depends on it can be cached."""


def node_key(
    spec: NodeSpec,
    constants: Iterable[tuple[str, bytes]],
    links: Iterable[tuple[str, bytes, int]],
    salt: bytes = b"",
) -> bytes:
    """The 32-byte key of a node.

    Args:
        spec: the node; its name and version enter.
        constants: input name and canonical form of each value.
        links: input name, key of the source, output slot.
        salt: whatever else decides the result: a fingerprint, the node's id.
    """
    parts = [FORMAT, _text(spec.name), _text(spec.version), _sized(salt)]
    parts += [b"c" + _text(name) + _sized(form) for name, form in sorted(constants)]
    parts += [b"l" + _text(name) + key + struct.pack("<q", slot) for name, key, slot in sorted(links)]
    return hashlib.sha256(b"".join(parts)).digest()


def canonical(value: Any, digests: Mapping[Path, bytes] | None = None) -> bytes:
    """A byte form that two values share exactly when they are equal and of one type.

    Files enter by their content, looked up in `digests`, or else by name. Raises Unhashable.
    """
    kind = cast("type[Any]", type(value))
    if kind is str:
        return b"s" + value.encode("utf-8", "surrogatepass")
    if kind is int:
        return b"i%x" % value  # hexadecimal has no limit of digits
    if kind is float:
        return b"f" + value.hex().encode()
    if kind is bool:
        return b"b1" if value else b"b0"
    if value is None:
        return b"n"
    try:
        return _compound(value, digests)
    except RecursionError:  # a list that holds itself
        raise Unhashable("what is nested too deeply") from None


def _compound(value: Any, digests: Mapping[Path, bytes] | None) -> bytes:
    if isinstance(value, Path):
        content = (digests or {}).get(value)
        return b"F" + content if content else b"N" + value.as_posix().encode()
    if isinstance(value, bytes):
        return b"y" + value
    if type(value) in (list, tuple):
        tag = b"[" if type(value) is list else b"("
        return tag + b"".join(_sized(canonical(item, digests)) for item in cast("list[Any]", value))
    if type(value) is dict:
        items = cast("dict[Any, Any]", value).items()
        pairs = sorted((canonical(key, digests), canonical(item, digests)) for key, item in items)
        return b"{" + b"".join(_sized(key) + _sized(item) for key, item in pairs)
    raise Unhashable(type(value).__name__)


def _sized(data: bytes) -> bytes:
    return struct.pack("<q", len(data)) + data


@functools.lru_cache(maxsize=4096)  # names of nodes and inputs come again and again
def _text(text: str) -> bytes:
    return _sized(text.encode("utf-8", "surrogatepass"))
