"""What can be told of a file of weights without loading it: names, shapes, metadata, and single small tensors."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from graphexec.diffusion.beside import is_index, read_index
from graphexec.diffusion.sources import WeightsFile
from graphexec.errors import ModelFileError, unreadable
from graphexec.lora.header import Header, Shapes, data_start, in_file, read_header

__all__ = ["PICKLE_SUFFIXES", "Listing", "list_file"]

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
"""How the names of files end that may be pickled."""

_FORMATS = {"F64": "d", "F32": "f", "F16": "e"}
_MOST_NUMBERS = 1 << 16


@dataclass(frozen=True, slots=True)
class Listing:
    """The names, shapes and metadata of a file; `numbers` reads those of one small tensor."""

    path: Path
    shapes: Shapes
    metadata: Mapping[str, str]
    numbers: Callable[[str], Sequence[float]]


def list_file(path: Path, *, allow_pickle: bool = False) -> Listing:
    """Read the header of a safetensors file; `ModelFileError` if it is missing, damaged or of another format.

    Of an index it is the headers of all its parts. With `allow_pickle` also that of a file that PyTorch pickled, which
    takes torch; nothing that is in it is run.
    """
    if allow_pickle and path.suffix.lower() in PICKLE_SUFFIXES:
        from graphexec.diffusion.pickles import PickledFile, is_pickled

        if is_pickled(path):
            file = PickledFile(path)
            return Listing(path, file.shapes, {}, file.numbers)
    if is_index(path):
        return _listed(path)
    header = _header(WeightsFile.of(path))
    return Listing(path, header.shapes, header.metadata, lambda name: _numbers(path, header, name))


def _listed(index: Path) -> Listing:
    """What is in all the parts of an index, each tensor where the index says it is."""
    with in_file(index):
        places = read_index(index)
        parts = {part: list_file(part) for part in dict.fromkeys(places.values())}
        missing = [name for name, part in places.items() if name not in parts[part].shapes]
        if missing:
            raise ModelFileError(f"{missing[0]!r} is not in {places[missing[0]].name}, where the index says it is")
    shapes = {name: parts[part].shapes[name] for name, part in places.items()}
    return Listing(index, shapes, {}, lambda name: parts[places[name]].numbers(name))


@lru_cache(maxsize=8)  # a check asks for the family, then for the shapes of each network in the file
def _header(file: WeightsFile) -> Header:
    return read_header(file.path)


def _numbers(path: Path, header: Header, name: str) -> list[float]:
    info = header.tensors[name]
    if info.end - info.start > 8 * _MOST_NUMBERS:
        raise ModelFileError(f"{name!r} should be small, but has the shape {info.shape}")
    try:
        with path.open("rb") as file:
            file.seek(data_start(file) + info.start)
            raw = file.read(info.end - info.start)
    except OSError as error:
        raise unreadable(error) from error
    return _decoded(raw, info.dtype, name)


def _decoded(raw: bytes, dtype: str, name: str) -> list[float]:
    if dtype == "BF16":  # the upper half of a float32
        raw, dtype = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2)), "F32"
    if dtype == "F8_E5M2":  # the upper half of a float16
        raw, dtype = b"".join(b"\0" + raw[i : i + 1] for i in range(len(raw))), "F16"
    if dtype == "F8_E4M3":
        return [_e4m3(byte) for byte in raw]
    if dtype not in _FORMATS:
        raise ModelFileError(f"{name!r} is stored as {dtype}, where floating-point numbers are expected")
    return [value for (value,) in struct.iter_unpack(f"<{_FORMATS[dtype]}", raw)]


def _e4m3(byte: int) -> float:
    """A number of eight bits: sign, four of exponent, three of fraction (Micikevicius et al. 2022)."""
    sign = -1.0 if byte & 0x80 else 1.0
    exponent, fraction = byte >> 3 & 0xF, byte & 7
    if exponent == 0xF and fraction == 7:
        return float("nan")
    return sign * (fraction / 8 * 2.0**-6 if exponent == 0 else (1 + fraction / 8) * 2.0 ** (exponent - 7))
