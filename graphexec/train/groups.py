"""What is trained together: parameters that share a name in the logs and a learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["ParameterGroup"]


@dataclass(frozen=True, slots=True, eq=False)
class ParameterGroup:
    """Parameters with a learning rate of their own."""

    name: str
    parameters: Sequence[Tensor]
    lr: float
