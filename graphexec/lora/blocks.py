"""LoRA strengths by block of the UNet: vectors of weights as they are written in the wild, and what they mean.

A vector's length says which blocks it is for; the tables are those of sd-webui-lora-block-weight (12, 17, 20 and 26
values), of LoRAs that also change convolutions (21 and 27) and of training by block (25).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from graphexec.errors import ModelFileError

__all__ = ["LAYOUTS", "PRESETS", "BlockWeights", "Blocks", "block_factor", "check_blocks", "parse_blocks"]


def _numbered(part: str, numbers: Iterable[int]) -> tuple[str, ...]:
    return tuple(f"{part}.{number}" for number in numbers)


BASE = "BASE"
"""The text encoders."""
NUMBERED = ("input_blocks", "middle_block", "output_blocks")
_MIDDLE = ("middle_block",)
_MIDDLES = _numbered("middle_block", range(3))
_WHOLE = (*_numbered("input_blocks", range(12)), *_MIDDLE, *_numbered("output_blocks", range(12)))
_SDXL = (*_numbered("input_blocks", (4, 5, 7, 8)), *_MIDDLE, *_numbered("output_blocks", range(6)))
_SD = (*_numbered("input_blocks", (1, 2, 4, 5, 7, 8)), *_MIDDLE, *_numbered("output_blocks", range(3, 12)))

LAYOUTS: dict[int, tuple[str, ...]] = {
    12: (BASE, *_SDXL),
    17: (BASE, *_SD),
    20: (BASE, *_numbered("input_blocks", range(9)), *_MIDDLE, *_numbered("output_blocks", range(9))),
    21: (BASE, *_numbered("input_blocks", range(1, 9)), *_MIDDLES, *_numbered("output_blocks", range(9))),
    25: _WHOLE,
    26: (BASE, *_WHOLE),
    27: (BASE, *_numbered("input_blocks", range(1, 12)), *_MIDDLES, *_numbered("output_blocks", range(12))),
}
"""Which block each value of a vector is for, by the vector's length."""

SDXL_ONLY = (12, 20, 21)
"""Lengths of vectors for SDXL's nine blocks a side; the others are for the twelve of SD 1.x and SD 2.x."""

PRESETS: dict[str, str] = {
    "NONE": ",".join("0" * 17),
    "ALL": ",".join("1" * 17),
    "INS": ",".join("11110000000000000"),
    "IND": ",".join("10001110000000000"),
    "INALL": ",".join("11111110000000000"),
    "MIDD": ",".join("10001111111100000"),
    "OUTD": ",".join("10000000111100000"),
    "OUTS": ",".join("10000000000011111"),
    "OUTALL": ",".join("10000000111111111"),
    "ALL0.5": ",".join(["0.5"] * 17),
}
"""Vectors of SD 1.x by name, as sd-webui-lora-block-weight has them; `SD-` may come before a name."""

Blocks = tuple[tuple[str, float], ...]
"""Factors by the beginning of a weight's name, of which the longest counts."""


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """The values of a vector: `base` for the text encoders, `blocks` for the UNet."""

    values: tuple[float, ...]
    base: float
    blocks: Blocks


def parse_blocks(text: str, a: float = 1.0, b: float = 1.0, seed: int = 0, *, inverse: bool = False) -> BlockWeights:
    """Read a vector: a preset's name, or values with commas between them, perhaps after `NAME:`.

    A value is a number, A or B (`a` and `b` are halves of them), R (random, 0 to 1) or U (random, -0.5 to 1.5), drawn
    from `seed`; `inverse` takes each from 1. Blocks that the vector leaves out get 0, what is in no block keeps 1.
    Raises `ModelFileError` for a length or a value that is not known.
    """
    vector = text.strip().rpartition(":")[2].strip()
    vector = PRESETS.get(vector.removeprefix("SD-"), vector)
    parts = [part.strip() for part in vector.split(",")]
    if len(parts) not in LAYOUTS:
        known = ", ".join(map(str, LAYOUTS))
        raise ModelFileError(
            f"a vector of {len(parts)} block weights is not known: it has {known} values, or is one of the presets"
            f" {', '.join(PRESETS)}"
        )
    draw = random.Random(seed)
    values = tuple(_value(part, a, b, draw) for part in parts)
    values = tuple(1 - value for value in values) if inverse else values
    pairs = list(zip(LAYOUTS[len(parts)], values, strict=True))
    base = next((value for name, value in pairs if name == BASE), 1.0)
    rest = tuple((part, 0.0) for part in NUMBERED)
    named = tuple((name, value) for name, value in pairs if name != BASE)
    return BlockWeights(values, base, tuple(dict((*rest, *named)).items()))


def block_factor(blocks: Blocks, weight: str) -> float:
    """The factor for a weight of the UNet; 1 for one in no block."""
    found = [(len(name), factor) for name, factor in blocks if weight.startswith(f"{name}.")]
    return max(found)[1] if found else 1.0


def check_blocks(values: Sequence[float], family: str, changed: Iterable[str]) -> tuple[str, ...]:
    """What is odd about a vector for a model of a family, and for a LoRA that changes these weights of the UNet."""
    names = tuple(changed)
    told: list[str] = []
    if (len(values) in SDXL_ONLY) != family.startswith("sdxl"):
        meant = "SDXL" if len(values) in SDXL_ONLY else "SD 1.x and SD 2.x"
        told.append(f"{len(values)} block weights are for models of {meant}, this one is of the family {family}")
    if inert := _inert(values, names):
        told.append(f"block weights that change nothing, since the LoRA has nothing there: {', '.join(inert)}")
    if left_out := _left_out(values, names):
        told.append(f"blocks that the LoRA changes but the block weights leave out, so that they get 0: {left_out}")
    return tuple(told)


def _inert(values: Sequence[float], names: Sequence[str]) -> tuple[str, ...]:
    blocks = (name for name in LAYOUTS[len(values)] if name != BASE)
    return tuple(block for block in blocks if not any(name.startswith(f"{block}.") for name in names))


def _left_out(values: Sequence[float], names: Sequence[str]) -> str:
    layout = LAYOUTS[len(values)]
    blocks = dict.fromkeys(".".join(name.split(".")[:2]) for name in names if name.startswith(NUMBERED))
    return ", ".join(block for block in blocks if not f"{block}.".startswith(tuple(f"{name}." for name in layout)))


def _value(text: str, a: float, b: float, draw: random.Random) -> float:
    named = {"A": a, "a": a / 2, "B": b, "b": b / 2}
    if text in named:
        return named[text]
    if text in ("R", "U"):
        return round(draw.uniform(0, 1) if text == "R" else draw.uniform(-0.5, 1.5), 3)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ModelFileError(f"{text!r} is no block weight: a number, A, a, B, b, R or U")
    return value
