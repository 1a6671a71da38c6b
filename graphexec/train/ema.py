"""An exponential moving average of what is trained."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["Ema", "decay_at", "put", "restored"]


def decay_at(step: int, highest: float) -> float:
    """How much of the average is kept after `step` steps (from 0): little at first, and never more than `highest`."""
    return min((1 + step) / (10 + step), highest)


class Ema:
    """Averages of parameters, on their device in float32."""

    def __init__(self, parameters: Sequence[Tensor], highest: float) -> None:
        self._parameters = list(parameters)
        self._highest = highest
        self.averages = [parameter.detach().float().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Let the parameters as they are after `step` steps (from 0) into the averages."""
        fresh = [parameter.detach().float() for parameter in self._parameters]
        get_ema_multi_avg_fn(decay_at(step, self._highest))(self.averages, fresh, step)

    @contextmanager
    def applied(self) -> Generator[None]:
        """The averages in the place of the parameters, for the length of the block."""
        with restored(self._parameters):
            put(self.averages, self._parameters)
            yield

    def load(self, averages: Sequence[Tensor]) -> None:
        """Take averages that were saved."""
        put(averages, self.averages)


@contextmanager
def restored(parameters: Sequence[Tensor]) -> Generator[None]:
    """After the block the parameters are to the bit what they were before it, whatever was made of them."""
    own = [parameter.detach().clone() for parameter in parameters]
    try:
        yield
    finally:
        put(own, parameters)


@torch.no_grad()
def put(values: Sequence[Tensor], parameters: Sequence[Tensor]) -> None:
    """Copy values into parameters."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
