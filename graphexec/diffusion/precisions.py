"""What weights are stored and computed in, by the names that settings have for it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

__all__ = ["DTYPES"]

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
