"""The header of a safetensors file: names, dtypes and shapes of its tensors, without reading a weight.

The format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import io
import json
import math
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from graphexec.errors import ModelFileError, unreadable

__all__ = [
    "Header",
    "Shape",
    "Shapes",
    "TensorInfo",
    "data_start",
    "header_of",
    "in_file",
    "need_file",
    "parse_header",
    "read_header",
    "strip_prefix",
]

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

MAX_HEADER_BYTES = 100_000_000
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
CONVERT = "convert it once, which runs nothing that is in it: graphexec convert-checkpoint IN OUT.safetensors"
FOREIGN = (
    (b"PK\x03\x04", f"is a PyTorch checkpoint (pickle, which can run code when read); {CONVERT}"),
    (b"\x80", f"is a pickle, which can run code when read; {CONVERT}"),
    (b"<", "is a web page, not weights: the download led to a login or error page; download the file again"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights themselves; fetch them with `git lfs pull`"),
    (b"GGUF", "is a GGUF file; only safetensors files are read"),
)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of the file; `start` and `end` are bytes after the header."""

    dtype: str
    shape: Shape
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says about itself."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each tensor by name, in the order of the file."""
        return {name: info.shape for name, info in self.tensors.items()}


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file; `ModelFileError` if it is missing, damaged or of another format."""
    with in_file(path):
        try:
            need_file(path)
            size = path.stat().st_size
            with path.open("rb") as file:
                return parse_header(size, _header_bytes(size, file))
        except OSError as error:
            raise unreadable(error) from error


def need_file(path: Path) -> None:
    """Raises `ModelFileError` for a pipe, which would be waited for, or a device; OSError where nothing is."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a folder says what is wrong with it
        raise ModelFileError("this is a pipe or a device, and weights are read from files: write them to one first")


def header_of(content: bytes) -> Header:
    """The header of a safetensors file, given all its bytes; `ModelFileError` as for a file."""
    return parse_header(len(content), _header_bytes(len(content), io.BytesIO(content)))


def data_start(file: BinaryIO) -> int:
    """Where the tensors' bytes begin in a file whose header has been read without a fault."""
    file.seek(0)
    return 8 + int.from_bytes(file.read(8), "little")


@contextmanager
def in_file(path: Path) -> Generator[None]:
    """Puts the file's path before the message of a `ModelFileError`."""
    try:
        yield
    except ModelFileError as error:
        error.args = (f"{path}: {error}",)
        raise


def strip_prefix(shapes: Shapes, prefix: str) -> dict[str, Shape]:
    """The shapes of the tensors below `prefix`, by the rest of their names."""
    return {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}


def parse_header(size: int, raw: bytes) -> Header:
    """Check the header `raw` of a file of `size` bytes: every byte of data belongs to exactly one tensor."""
    try:
        tree: Any = json.loads(raw.decode())
        if rb"\u" in raw:  # may say half a character, with which safetensors itself refuses the file
            json.dumps(tree, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"the header is not JSON in UTF-8 ({error}); download the file again") from error
    if not isinstance(tree, dict):
        raise ModelFileError("the header is not a JSON object; this is no safetensors file")
    entries = cast("dict[str, Any]", tree)
    metadata = entries.pop("__metadata__", None)
    tensors = {name: _tensor(name, entry) for name, entry in entries.items()}
    _check_offsets(tensors, size - 8 - len(raw))
    pairs = cast("dict[Any, Any]", metadata).items() if isinstance(metadata, dict) else ()
    return Header(tensors, {str(key): str(value) for key, value in pairs})


def _header_bytes(size: int, file: BinaryIO) -> bytes:
    head = file.read(32)
    for magic, what in FOREIGN:
        if head.startswith(magic) and not head[8:9] == b"{":
            raise ModelFileError(f"{what}")
    length = int.from_bytes(head[:8], "little")
    if size < 8 or not head[8:9] == b"{":
        raise ModelFileError(f"this is no safetensors file ({size} bytes); download it again, or check the name")
    if length > MAX_HEADER_BYTES:
        raise ModelFileError(f"the header claims {length} bytes; the format allows {MAX_HEADER_BYTES}")
    if 8 + length > size:
        raise ModelFileError(f"the file is cut off inside its header ({size} bytes); download it again")
    file.seek(8)
    return file.read(length)


def _tensor(name: str, entry: Any) -> TensorInfo:
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = (*shape, start, end)
        bits = BITS[dtype] * math.prod(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"the header's entry for {name!r} cannot be read ({error!r})") from error
    if any(type(n) is not int or n < 0 for n in numbers) or (end - start) * 8 != bits:
        raise ModelFileError(f"the header's entry for {name!r} contradicts itself: {entry!r:.200}")
    return TensorInfo(dtype, tuple(shape), start, end)


def _check_offsets(tensors: Mapping[str, TensorInfo], data_bytes: int) -> None:
    at = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start != at:
            fault = "overlaps the tensor before it" if info.start < at else "leaves a hole before it"
            raise ModelFileError(f"{name!r} {fault} (byte {info.start}, expected {at})")
        at = info.end
    if at > data_bytes:
        raise ModelFileError(
            f"the file is cut off: its header promises {at:,} bytes of weights, {data_bytes:,} are there;"
            " download it again"
        )
    if at < data_bytes:
        raise ModelFileError(f"{data_bytes - at:,} bytes follow the last tensor; the file is damaged")
