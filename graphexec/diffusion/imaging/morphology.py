"""Grey morphology by a square, each channel for itself (Serra 1982)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Operation", "morphology"]

Operation = Literal["erode", "dilate", "open", "close", "gradient", "bottom_hat", "top_hat"]


def morphology(picture: Tensor, operation: Operation, size: int) -> Tensor:
    """Pictures [B,H,W,C], nothing beyond their edges.

    A square of even size reaches one pixel further up and left to erode, and down and right to dilate.
    """
    return OPERATIONS[operation](picture.movedim(-1, 1), size).movedim(1, -1)


def _dilate(samples: Tensor, size: int) -> Tensor:
    return _highest(samples, (size - 1) // 2, size // 2)


def _erode(samples: Tensor, size: int) -> Tensor:
    return -_highest(-samples, size // 2, (size - 1) // 2)


def _highest(samples: Tensor, before: int, after: int) -> Tensor:
    padded = F.pad(samples, (before, after, before, after), value=-torch.inf)
    rows = F.max_pool2d(padded, (before + after + 1, 1), stride=1)
    return F.max_pool2d(rows, (1, before + after + 1), stride=1)


def _open(samples: Tensor, size: int) -> Tensor:
    return _dilate(_erode(samples, size), size)


def _close(samples: Tensor, size: int) -> Tensor:
    return _erode(_dilate(samples, size), size)


OPERATIONS: Mapping[Operation, Callable[[Tensor, int], Tensor]] = {
    "erode": _erode,
    "dilate": _dilate,
    "open": _open,
    "close": _close,
    "gradient": lambda samples, size: _dilate(samples, size) - _erode(samples, size),
    "bottom_hat": lambda samples, size: _close(samples, size) - samples,
    "top_hat": lambda samples, size: samples - _open(samples, size),
}
