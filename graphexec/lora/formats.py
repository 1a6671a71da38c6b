"""The modules in a LoRA file, and what each adds to a weight.

LoRA: Hu et al. 2021, https://arxiv.org/abs/2106.09685. LoCon with a core tensor (`lora_mid`): LyCORIS, Yeh et al. 2023,
https://arxiv.org/abs/2309.14859.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphexec.errors import ModelFileError
from graphexec.lora.header import Shape, Shapes

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LoraModule", "add_module", "read_modules"]

PARTS = {"lora_up.weight": "up", "lora_down.weight": "down", "lora_mid.weight": "mid", "alpha": "alpha"}


@dataclass(frozen=True, slots=True)
class LoraModule:
    """One module of a LoRA file: the names of its tensors, and what they say about the weight they change."""

    name: str
    up: str
    down: str
    mid: str | None
    alpha: str | None
    rank: int
    out_features: int
    in_features: int
    elements: int
    """Elements of the change, which must be those of the weight."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of its tensors in the file."""
        return tuple(name for name in (self.up, self.down, self.mid, self.alpha) if name is not None)


def read_modules(shapes: Shapes) -> tuple[dict[str, LoraModule], tuple[str, ...]]:
    """The modules of a LoRA file by name, and the names of the tensors that belong to none.

    Raises `ModelFileError` for a module whose tensors do not fit each other.
    """
    parts: dict[str, dict[str, str]] = {}
    strangers: list[str] = []
    for tensor in shapes:
        module, part = _split(tensor)
        if part is None:
            strangers.append(tensor)
        else:
            parts.setdefault(module, {})[part] = tensor
    whole = {name for name, found in parts.items() if {"up", "down"} <= found.keys()}
    strangers += [tensor for name, found in parts.items() if name not in whole for tensor in found.values()]
    return {name: _module(name, parts[name], shapes) for name in parts if name in whole}, tuple(strangers)


def add_module(weight: Tensor, module: LoraModule, strength: float, read: Callable[[str], Tensor]) -> None:
    """Add `strength * alpha / rank * up @ down` to `weight` (float32, contiguous), in place.

    A file without alpha is taken at scale 1. `read` gives a tensor of the file by name.
    """
    up, down = (read(name).to(weight).flatten(1) for name in (module.up, module.down))
    scale = 1.0 if module.alpha is None else float(read(module.alpha)) / module.rank
    if module.mid is not None:
        mid = read(module.mid).to(weight)
        down = (mid.flatten(2).transpose(1, 2) @ down).transpose(1, 2).flatten(1)
    weight.view(weight.shape[0], -1).addmm_(up, down, alpha=strength * scale)


def _split(tensor: str) -> tuple[str, str | None]:
    for suffix, part in PARTS.items():
        if tensor.endswith(f".{suffix}"):
            return tensor[: -len(suffix) - 1], part
    return tensor, None


def _module(name: str, found: dict[str, str], shapes: Shapes) -> LoraModule:
    up, down = shapes[found["up"]], shapes[found["down"]]
    mid = shapes[found["mid"]] if "mid" in found else None
    if not _fits(up, down, mid):
        raise ModelFileError(f"LoRA module {name!r}: the shapes {up}, {down} and {mid} do not fit each other")
    kernel = mid[2:] if mid else down[2:]
    return LoraModule(
        name=name,
        up=found["up"],
        down=found["down"],
        mid=found.get("mid"),
        alpha=found.get("alpha"),
        rank=down[0],
        out_features=up[0],
        in_features=down[1],
        elements=up[0] * down[1] * math.prod(kernel),
    )


def _fits(up: Shape, down: Shape, mid: Shape | None) -> bool:
    if min(len(up), len(down)) < 2 or up[1] != down[0] or math.prod(up[2:]) != 1:
        return False
    return mid is None or (mid[:2] == (down[0], down[0]) and math.prod(down[2:]) == 1)
