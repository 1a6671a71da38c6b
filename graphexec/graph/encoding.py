"""How values become bytes and come back exactly: a tuple stays a tuple, 1 stays an int, NaN keeps its bits.

A value is written as a list of tokens in postorder (a container follows its items), so that neither writing nor reading
recurses, however deep it is nested. A token is a JSON scalar that stands for itself, or a list whose first item says
what it is. Large bytes travel beside the tokens, as blobs. Reading makes nothing but the built-in types and what the
codecs handed to it make; a file cannot name anything to import or call.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from graphexec.graph.outputs import PublishedRecord
from graphexec.node.fields import Artifact, Artifacts, Blocker

__all__ = ["Codec", "Encoded", "Undecodable", "codec_table", "dataclass_codec", "decode", "encode", "type_name"]

MAX_TOKENS = 1_000_000
"""A value of more parts than this is not written; nor is one that contains itself."""

Buffer = bytes | memoryview
Token = Any
"""A JSON scalar, or a list of a tag and JSON scalars."""


class Codec(Protocol):
    """Turns the values of exactly one class into encodable parts and blobs, and back."""

    @property
    def type_name(self) -> str:
        """Module and qualified name of the class, as `type_name()` gives them."""
        ...

    def dump(self, value: Any, /) -> tuple[Any, Sequence[Buffer]]:
        """The value as another encodable value, and blobs beside it. Raises GraphexecError if it cannot be kept."""
        ...

    def load(self, tree: Any, blobs: list[memoryview], /) -> Any:
        """The value again. The blobs are writable and its own; raises GraphexecError if it no longer holds."""
        ...


class Undecodable(Exception):
    """What is read is not what `encode` writes, or a codec cannot make sense of it."""


class UnknownType(Undecodable):
    """There is no codec for a class that was written; it is no fault of the file."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value as JSON tokens in postorder, and the blobs that they refer to by number."""

    tokens: list[Token]
    blobs: list[Buffer]


@dataclass(frozen=True, slots=True)
class _DataclassCodec:
    cls: type[Any]
    names: tuple[str, ...]

    @property
    def type_name(self) -> str:
        return type_name(self.cls)

    def dump(self, value: Any, /) -> tuple[Any, Sequence[Buffer]]:
        return {name: getattr(value, name) for name in self.names}, ()

    def load(self, tree: Any, blobs: list[memoryview], /) -> Any:
        if blobs:
            raise ValueError("a dataclass has no blobs of its own")
        return self.cls(**tree)


def dataclass_codec(cls: type[Any]) -> Codec:
    """The codec of a dataclass whose fields are all encodable and given to its constructor."""
    return _DataclassCodec(cls, tuple(field.name for field in fields(cls) if field.init))


def type_name(cls: type[Any]) -> str:
    """Module and qualified name of a class: what a codec is found by."""
    return f"{cls.__module__}.{cls.__qualname__}"


def codec_table(codecs: Iterable[Codec] = ()) -> Mapping[str, Codec]:
    """Codecs by the class they are for, with those of what any node may return; a later one takes the place of one."""
    builtin = map(dataclass_codec, (Artifact, Artifacts, Blocker, PublishedRecord))
    return {codec.type_name: codec for codec in (*builtin, *codecs)}


# Writing


class _NotEncodable(Exception):
    """Some part of a value has no codec."""


@dataclass(slots=True)
class _Writer:
    codecs: Mapping[str, Codec]
    pending: list[Any]
    blobs: list[Buffer]


def encode(value: Any, codecs: Mapping[str, Codec]) -> Encoded | None:
    """A value as tokens and blobs; None if some part of it has no codec.

    Raises whatever GraphexecError a codec raises for a value that cannot be kept.
    """
    out = _Writer(codecs, [value], [])
    tokens: list[Token] = []
    try:
        while out.pending:
            # What was added last is written first, so the tokens come out in reverse.
            item: object = out.pending.pop()
            tokens.append(_WRITERS.get(type(item), _write_by_codec)(out, item))
            if len(tokens) + len(out.pending) > MAX_TOKENS:
                return None
    except _NotEncodable:
        return None
    tokens.reverse()
    return Encoded(tokens, out.blobs)


def _write_scalar(out: _Writer, value: Any) -> Token:
    return value


def _write_int(out: _Writer, value: int) -> Token:
    return value if -(2**63) <= value < 2**64 else ["i", format(value, "x")]


def _write_float(out: _Writer, value: float) -> Token:
    return value if math.isfinite(value) else ["f", struct.pack(">d", value).hex()]


def _write_str(out: _Writer, value: str) -> Token:
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON would join two halves of a character that are apart here
        return ["s", value.encode("utf-8", "surrogatepass").hex()]
    return value


def _write_bytes(out: _Writer, value: bytes) -> Token:
    out.blobs.append(value)
    return ["b", len(out.blobs) - 1]


def _write_list(out: _Writer, value: list[Any]) -> Token:
    out.pending.extend(value)
    return ["l", len(value)]


def _write_tuple(out: _Writer, value: tuple[Any, ...]) -> Token:
    out.pending.extend(value)
    return ["t", len(value)]


def _write_dict(out: _Writer, value: dict[Any, Any]) -> Token:
    for pair in value.items():
        out.pending.extend(pair)
    return ["d", len(value)]


def _write_path(out: _Writer, value: Path) -> Token:
    out.pending.append(str(value))
    return ["p"]


def _write_by_codec(out: _Writer, value: object) -> Token:
    name = type_name(type(value))
    codec = out.codecs.get(name)
    if codec is None:
        raise _NotEncodable
    tree, blobs = codec.dump(value)
    first = len(out.blobs)
    out.blobs.extend(blobs)
    out.pending.append(tree)
    return ["c", name, first, len(blobs)]


_WRITERS: Mapping[type[Any], Callable[[_Writer, Any], Token]] = {
    type(None): _write_scalar,
    bool: _write_scalar,
    int: _write_int,
    float: _write_float,
    str: _write_str,
    bytes: _write_bytes,
    list: _write_list,
    tuple: _write_tuple,
    dict: _write_dict,
    type(Path()): _write_path,
}


# Reading

_SENSELESS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, struct.error)
"""What code raises that is given values of another shape than it expects."""


@dataclass(slots=True)
class _Reader:
    blobs: Sequence[memoryview]
    codecs: Mapping[str, Codec]
    stack: list[Any]

    def take(self, count: int) -> list[Any]:
        """The last `count` values, in their order."""
        start = len(self.stack) - count
        if start < 0 or count < 0:
            raise ValueError("a container has more items than there are")
        items = self.stack[start:]
        del self.stack[start:]
        return items


def decode(tokens: Sequence[Token], blobs: Sequence[memoryview], codecs: Mapping[str, Codec]) -> Any:
    """The value that was encoded.

    Raises Undecodable, UnknownType among them, and whatever GraphexecError a codec raises for a value that no longer
    holds, e.g. one that refers to a file that has changed.
    """
    source = _Reader(blobs, codecs, [])
    try:
        for token in tokens:
            source.stack.append(_READERS[token[0]](source, *token[1:]) if type(token) is list else _scalar(token))
        (value,) = source.stack
    except _SENSELESS as error:
        raise Undecodable(f"{type(error).__name__}: {error}") from error
    return value


def _scalar(token: Token) -> Any:
    if type(token) is dict:
        raise ValueError("a JSON object is no token")
    return token


def _read_int(source: _Reader, digits: str) -> int:
    return int(digits, 16)


def _read_float(source: _Reader, digits: str) -> float:
    return struct.unpack(">d", bytes.fromhex(digits))[0]


def _read_str(source: _Reader, digits: str) -> str:
    return bytes.fromhex(digits).decode("utf-8", "surrogatepass")


def _read_bytes(source: _Reader, index: int) -> bytes:
    return bytes(source.blobs[index])


def _read_list(source: _Reader, count: int) -> list[Any]:
    return source.take(count)


def _read_tuple(source: _Reader, count: int) -> tuple[Any, ...]:
    return tuple(source.take(count))


def _read_path(source: _Reader) -> Path:
    return Path(*source.take(1))


def _read_dict(source: _Reader, count: int) -> dict[Any, Any]:
    flat = iter(source.take(2 * count))
    return dict(zip(flat, flat, strict=True))


def _read_by_codec(source: _Reader, name: str, first: int, count: int) -> Any:
    codec = source.codecs.get(name)
    if codec is None:
        raise UnknownType(f"there is no codec for {name}")
    (tree,) = source.take(1)
    return codec.load(tree, list(source.blobs[first : first + count]))


_READERS: Mapping[str, Callable[..., Any]] = {
    "i": _read_int,
    "f": _read_float,
    "s": _read_str,
    "b": _read_bytes,
    "l": _read_list,
    "t": _read_tuple,
    "d": _read_dict,
    "p": _read_path,
    "c": _read_by_codec,
}
