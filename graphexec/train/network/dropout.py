"""Dropout that depends on the seed, the step and the place in the network, and on nothing that was drawn before.

So a run that is gone on with drops what it would have dropped, and gradient checkpointing, which computes a forward
pass twice, drops the same both times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from graphexec.train.faults import TrainingError
from graphexec.train.seeds import seed_of

__all__ = ["Dropout", "Moment", "Rates"]


@dataclass(frozen=True, slots=True)
class Rates:
    """Probabilities as in sd-scripts: of each number after the down factor, of each rank, of a whole module."""

    neuron: float = 0.0
    rank: float = 0.0
    module: float = 0.0

    def __post_init__(self) -> None:
        for name, rate in (("dropout", self.neuron), ("rank_dropout", self.rank), ("module_dropout", self.module)):
            if not 0 <= rate < 1:
                raise TrainingError(f"{name} is a probability of at least 0 and less than 1, not {rate}")


@dataclass(slots=True)
class Moment:
    """When dropout is drawn: all modules of a network share one."""

    seed: int
    step: int = 0


@dataclass(frozen=True, slots=True)
class Dropout:
    """The dropout of one module, which has a name in the network."""

    rates: Rates
    moment: Moment
    name: str

    def skips(self) -> bool:
        """Whether the whole module is left out now; decided on the host."""
        return self.rates.module > 0 and self._seed("module") / 2**63 < self.rates.module

    def neurons(self, hidden: Tensor) -> Tensor:
        """What the down factor gave, some numbers dropped and the others scaled up."""
        return self._masked(hidden, tuple(hidden.shape), "neuron", self.rates.neuron)

    def ranks(self, hidden: Tensor, axis: int) -> Tensor:
        """What the down factor gave, some ranks (along `axis`) of each sample dropped and the others scaled up."""
        shape = [1] * hidden.ndim
        shape[0], shape[axis] = hidden.shape[0], hidden.shape[axis]
        return self._masked(hidden, tuple(shape), "rank", self.rates.rank)

    def rows(self, delta: Tensor) -> Tensor:
        """A difference of weights, some rows dropped and the others scaled up: what rank dropout is without ranks."""
        return self._masked(delta, (len(delta), *[1] * (delta.ndim - 1)), "rank", self.rates.rank)

    def _masked(self, x: Tensor, shape: tuple[int, ...], what: Literal["neuron", "rank"], rate: float) -> Tensor:
        if not rate:
            return x
        generator = torch.Generator(x.device).manual_seed(self._seed(what))
        kept = torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - rate, generator=generator)
        return x * kept.div_(1 - rate)

    def _seed(self, what: str) -> int:
        return seed_of(self.moment.seed, self.moment.step, self.name, what)
