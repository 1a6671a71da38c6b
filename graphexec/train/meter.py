"""Losses, kept on the device and read many at a time, so that no step waits for the device."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from graphexec.train.events import Stepped
from graphexec.train.faults import NonFiniteLoss

__all__ = ["Meter"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A step whose losses, one a batch, are not read yet; `names` are the pictures' by batch.

    `norm` is that of the gradients, None where it may be infinite.
    """

    step: int
    epoch: int
    rates: Mapping[str, float]
    losses: Sequence[Tensor]
    names: Sequence[Sequence[str]]
    norm: Tensor | None

    @property
    def numbers(self) -> list[Tensor]:
        """What has to be finite."""
        return [*self.losses, *([] if self.norm is None else [self.norm])]


@dataclass
class Meter:
    """Reads what `block` steps lost at once; of `total` steps `first` were done before this run."""

    total: int
    block: int
    first: int = 0
    last: float = math.nan
    """The loss of the step that was read last."""
    _waiting: list[Entry] = field(default_factory=list[Entry])
    _began: float = field(default_factory=time.perf_counter)

    def add(
        self,
        step: int,
        epoch: int,
        rates: Mapping[str, float],
        losses: Sequence[Tensor],
        names: Sequence[Sequence[str]],
        norm: Tensor | None = None,
    ) -> list[Stepped]:
        """Note a step; what it and those before it came to, if it is time to read."""
        self._waiting.append(Entry(step, epoch, rates, losses, names, norm))
        return self.read() if len(self._waiting) >= self.block else []

    def read(self) -> list[Stepped]:
        """What all steps came to that were not read yet. Raises `NonFiniteLoss` for the first that is no number."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return []
        values = iter(torch.stack([number for entry in waiting for number in entry.numbers]).tolist())
        return [self._stepped(entry, [next(values) for _ in entry.numbers]) for entry in waiting]

    def _stepped(self, entry: Entry, numbers: Sequence[float]) -> Stepped:
        losses, norms = numbers[: len(entry.losses)], numbers[len(entry.losses) :]
        for loss, names in zip(losses, entry.names, strict=True):
            if not math.isfinite(loss):
                raise NonFiniteLoss(_explain(f"the loss of step {entry.step} is {loss}", names))
        for norm in norms:
            if not math.isfinite(norm):
                names = [name for batch in entry.names for name in batch]
                raise NonFiniteLoss(
                    _explain(f"gradients of step {entry.step} are {norm}, though its loss is not", names)
                )
        self.last = sum(losses) / len(losses)
        rate = (entry.step - self.first) / max(time.perf_counter() - self._began, 1e-9)
        left = (self.total - entry.step) / rate
        return Stepped(entry.step, self.total, entry.epoch, self.last, entry.rates, rate, left)


def _explain(what: str, names: Sequence[str]) -> str:
    return (
        f"{what}, with these pictures: {', '.join(names)}. What was saved before is kept."
        " Most often the learning rate is too high, or fp16 too narrow (bf16 or fp32 are not); if it comes at the first"
        " steps, look at these pictures"
    )
