"""The loss on pictures that are held out, with the same noise at the same timesteps every time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from graphexec.errors import Cancelled
from graphexec.train.data.batches import Batches
from graphexec.train.objective import DiffusionLoss
from graphexec.train.seeds import seed_of

__all__ = ["Validator"]


@dataclass(frozen=True, slots=True, eq=False)
class Validator:
    """Measures over the first `steps` batches (None: all) of a set."""

    batches: Batches
    loss: DiffusionLoss
    seed: int
    steps: int | None = None

    @torch.no_grad()
    def __call__(self, cancelled: Callable[[], bool] = lambda: False) -> float:
        """The mean over the pictures. Raises `Cancelled` between two batches."""
        generator = torch.Generator(self.loss.base.device)
        losses: list[torch.Tensor] = []
        for i, batch in enumerate(itertools.islice(self.batches.epoch(0), self.steps)):
            if cancelled():
                raise Cancelled("stopped while the loss on held-out pictures was measured")
            generator.manual_seed(seed_of(self.seed, "validation", i))
            losses.append(self.loss(batch, generator))
        return float(torch.cat(losses).mean())
