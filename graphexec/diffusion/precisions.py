"""What weights are stored and computed in, by the names that settings have for it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["DTYPES", "is_finite"]

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def is_finite(tensor: Tensor) -> bool:
    """Whether it holds neither NaN nor infinity; of numbers in eight bits torch cannot tell by itself."""
    return bool((tensor.float() if tensor.itemsize == 1 else tensor).isfinite().all())
