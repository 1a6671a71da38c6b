"""Noise levels as they flow between nodes: float32 tensors [steps + 1], empty where nothing is to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from graphexec.diffusion.faults import SigmasError

__all__ = ["check_above_zero", "extended", "flipped", "split_at_fraction", "to_wire", "with_first"]

Spacing = Literal["linear", "cosine", "sine"]

FLIPPED_ZERO = 0.0001
"""What the level 0 becomes where a run begins with it."""

SPACINGS: Mapping[Spacing, Callable[[Tensor], Tensor]] = {
    "linear": lambda part: part,
    "cosine": lambda part: (part * math.pi / 2).sin(),
    "sine": lambda part: 1 - (part * math.pi / 2).cos(),
}


def to_wire(sigmas: Sequence[float]) -> Tensor:
    """Noise levels as a tensor [steps + 1], float32."""
    return torch.tensor(sigmas, dtype=torch.float32)


def split_at_fraction(sigmas: Tensor, denoise: float) -> tuple[Tensor, Tensor]:
    """Two parts of levels [steps + 1] that share one; the second has the fraction `denoise` of the steps.

    With none in the second, the first has all of them (ComfyUI's is empty then).
    """
    kept = round(max(len(sigmas) - 1, 0) * denoise)
    return sigmas[: len(sigmas) - kept], sigmas[-(kept + 1) :]


def flipped(sigmas: Tensor) -> Tensor:
    """Levels [steps + 1] from the last to the first, where 0 becomes just above it."""
    turned = sigmas.flip(0)
    return with_first(turned, FLIPPED_ZERO) if len(turned) and turned[0] == 0 else turned


def with_first(sigmas: Tensor, sigma: float) -> Tensor:
    """The levels with another first one; none stay none. Raises `SigmasError` for a run that would begin with 0."""
    if len(sigmas) > 1:
        check_above_zero(sigma=sigma)
    return torch.cat([sigmas.new_tensor([sigma]), sigmas[1:]]) if len(sigmas) else sigmas


def extended(sigmas: Tensor, steps: int, start: float, end: float, spacing: Spacing) -> Tensor:
    """Each step that begins between the levels `start` (none if below 0) and `end` cut into `steps`."""
    highest = math.inf if start < 0 else start
    parts = SPACINGS[spacing](torch.linspace(0, 1, steps + 1)[1:-1])
    levels: list[Tensor] = []
    for sigma, after in pairwise(sigmas):
        levels.append(sigma[None])
        if end <= sigma <= highest:
            levels.append(parts * (after - sigma) + sigma)
    return torch.cat([*levels, sigmas[-1:]])


def check_above_zero(**settings: float) -> None:
    """Raise `SigmasError` that names a setting of 0 or less."""
    for name, value in settings.items():
        if value <= 0:
            raise SigmasError(f"{name} must be above 0 here; it is {value:g}")
