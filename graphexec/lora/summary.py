"""What a LoRA file says of itself: its kind, rank and alpha, what it was trained on, and its hashes."""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from graphexec.errors import unreadable
from graphexec.lora.families import family_of_file
from graphexec.lora.formats import LoraModule, known_modules
from graphexec.lora.header import Header, TensorInfo, data_start, in_file
from graphexec.lora.keys import is_for_text
from graphexec.lora.metadata import read_lora_header

__all__ = ["Summary", "summarize"]

TAGS = 20
CHUNK = 2**20
SCALARS = {"F16": "<e", "F32": "<f", "F64": "<d", "I8": "<b", "I16": "<h", "I32": "<i", "I64": "<q", "U8": "<B"}
SHORTENED = {"BF16": ("F32", b"\0\0"), "F8_E5M2": ("F16", b"\0")}
"""Formats that are the upper bytes of others, and what the lower ones then are."""
BASE_MODEL = ("ss_sd_model_name", "ss_base_model_version", "modelspec.architecture")
"""Metadata that say what it was trained on, the most exact first (sd-scripts, and Stability AI's model spec)."""

_BLOCK = re.compile(r"(?:^|[._])(?:((?:input|output|down|up)_blocks)[._](\d+)|(mid(?:dle)?_block))(?:[._]|$)")


@dataclass(frozen=True, slots=True)
class Summary:
    """`kinds` counts the modules by kind of change, `networks` by what they change; `blocks` as the file names them.

    `tags` are the commonest in the captions that it was trained with. `sha256` is of the file, `weights_sha256` of what
    follows its header, which editing the metadata leaves alone; its first 12 digits are AUTOMATIC1111's short hash.
    """

    family: str
    kinds: Mapping[str, int]
    networks: Mapping[str, int]
    ranks: tuple[int, ...]
    alphas: tuple[float, ...]
    blocks: tuple[str, ...]
    base_model: str | None
    trigger: str | None
    tags: Mapping[str, int]
    unknown: tuple[str, ...]
    sha256: str
    weights_sha256: str


def summarize(path: Path) -> Summary:
    """Read what a LoRA file says of itself; `ModelFileError` if it is no LoRA or cannot be read."""
    header = read_lora_header(path)
    with in_file(path):
        file = known_modules(header)
        try:
            with path.open("rb") as opened:
                alphas = sorted({*_alphas(opened, header, file.modules)})
                sha256, of_weights = _hashes(opened)
        except OSError as error:
            raise unreadable(error) from error
    names = [module.name for module in file.modules]
    return Summary(
        family=str(family_of_file(file.modules)),
        kinds=dict(Counter(module.kind for module in file.modules)),
        networks=dict(Counter("text encoders" if is_for_text(name) else "UNet" for name in names)),
        ranks=tuple(sorted({rank for module in file.modules if (rank := module.adapter.rank) is not None})),
        alphas=tuple(alphas),
        blocks=tuple(_blocks(names)),
        base_model=next((header.metadata[key] for key in BASE_MODEL if header.metadata.get(key)), None),
        trigger=header.metadata.get("modelspec.trigger_phrase"),
        tags=_tags(header.metadata.get("ss_tag_frequency", "{}")),
        unknown=file.strangers,
        sha256=sha256,
        weights_sha256=of_weights,
    )


def _alphas(file: BinaryIO, header: Header, modules: Iterable[LoraModule]) -> Iterator[float]:
    """Alpha of each module that has one: a tensor of one element, or among its settings."""
    start = data_start(file)
    for module in modules:
        part, settings = module.adapter.parts.get("alpha"), module.adapter.settings
        alpha = settings.get("lora_alpha", settings.get("alpha"))
        if part is not None:
            found = _scalar(file, start, header.tensors[part.tensor])
            if found is not None:
                yield found
        elif isinstance(alpha, int | float):
            yield float(alpha)


def _scalar(file: BinaryIO, start: int, info: TensorInfo) -> float | None:
    """The finite number in a tensor of one element, None for another tensor."""
    if info.end - info.start > 8:
        return None
    file.seek(start + info.start)
    value = _number(info.dtype, file.read(info.end - info.start))
    return value if value is not None and math.isfinite(value) else None


def _number(dtype: str, raw: bytes) -> float | None:
    if dtype == "F8_E4M3":
        return _of_e4m3(raw[0]) if len(raw) == 1 else None
    if dtype in SHORTENED:
        dtype, zeros = SHORTENED[dtype]
        raw = zeros + raw
    code = SCALARS.get(dtype)
    return float(struct.unpack(code, raw)[0]) if code and struct.calcsize(code) == len(raw) else None


def _of_e4m3(byte: int) -> float:
    """A number of four bits of exponent and three of mantissa, without infinities (https://arxiv.org/abs/2209.05433)."""
    exponent, mantissa = byte >> 3 & 15, byte & 7
    if (exponent, mantissa) == (15, 7):
        return math.nan
    value = math.ldexp(mantissa + 8, exponent - 10) if exponent else math.ldexp(mantissa, -9)
    return -value if byte & 128 else value


def _hashes(file: BinaryIO) -> tuple[str, str]:
    """SHA-256 of the whole file, and of what follows its header."""
    start = data_start(file)
    file.seek(0)
    whole, weights = hashlib.sha256(file.read(start)), hashlib.sha256()
    while chunk := file.read(CHUNK):
        whole.update(chunk)
        weights.update(chunk)
    return whole.hexdigest(), weights.hexdigest()


def _blocks(names: Iterable[str]) -> Iterator[str]:
    """The blocks of the UNet, by name and number."""
    found = {_BLOCK.search(name) for name in names if not is_for_text(name)}
    blocks = {(match[1] or match[3], int(match[2] or 0)) for match in found if match}
    for name, number in sorted(blocks):
        yield f"{name}.{number}" if name.endswith("s") else name


def _tags(text: str) -> dict[str, int]:
    """The commonest tags of `ss_tag_frequency`, which counts them by folder; none if it is not that."""
    try:
        folders: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    counts = Counter[str]()
    for tags in cast("dict[str, Any]", folders).values() if isinstance(folders, dict) else ():
        if isinstance(tags, dict):
            items = cast("dict[str, Any]", tags).items()
            counts.update({tag.strip(): count for tag, count in items if type(count) is int})
    return dict(counts.most_common(TAGS))
