"""A small thing to train: a line through points, whose batches are numbered."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graphexec.train.config import Optimiser
from graphexec.train.events import Started, Stepped
from graphexec.train.groups import ParameterGroup
from graphexec.train.loop import Loop, Moment, Plan


@dataclass(frozen=True)
class Points:
    x: Tensor
    y: Tensor
    names: Sequence[str]


class Lines:
    """`count` batches an epoch, whose points follow from epoch and place."""

    def __init__(self, count: int = 4, *, bad: tuple[int, int] | None = None) -> None:
        self.count = count
        self.bad = bad

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Points]:
        for i in range(first, self.count):
            generator = torch.Generator().manual_seed(1000 * epoch + i)
            x = torch.randn(3, 2, generator=generator)
            y = x @ torch.tensor([[1.0], [-2.0]]) + 0.5
            yield Points(x, y * float("nan") if (epoch, i) == self.bad else y, [f"{epoch}-{i}.png"])


class Toy:
    """A loop over two groups, and everything that it told."""

    def __init__(self, plan: Plan | None = None, batches: Lines | None = None, **options: Any) -> None:
        torch.manual_seed(0)
        self.network = nn.Linear(2, 1)
        self.told: list[Started | Stepped] = []
        self.seen: list[tuple[str, ...]] = []
        weight, bias = self.network.weight, self.network.bias
        groups = [ParameterGroup("weight", [weight], 0.1), ParameterGroup("bias", [bias], 0.05)]
        if plan is not None and plan.optimiser.kind == "Prodigy":
            groups = [ParameterGroup("all", [weight, bias], 1.0)]
        self.loop: Loop[Points] = Loop(
            groups, self.losses, batches or Lines(), plan or of_steps(6), watch=self.told.append, **options
        )

    def losses(self, batch: Points, generator: torch.Generator) -> Tensor:
        self.seen.append(tuple(batch.names))
        x = batch.x + 0.01 * torch.randn(batch.x.shape, generator=generator)
        return ((self.network(x).float() - batch.y) ** 2).mean(dim=1)

    def run(self, cancelled: Callable[[], bool] = lambda: False) -> list[Moment]:
        return list(self.loop.run(cancelled))

    @property
    def loss(self) -> float:
        """Of points that are in no batch."""
        with torch.no_grad():
            losses = [self.losses(points, torch.Generator().manual_seed(0)) for points in Lines(20).epoch(99)]
            return float(torch.cat(losses).mean())

    @property
    def steps(self) -> list[Stepped]:
        return [event for event in self.told if isinstance(event, Stepped)]

    @property
    def weights(self) -> list[float]:
        return [*self.network.weight.flatten().tolist(), float(self.network.bias.detach())]


def of_steps(steps: int, kind: str = "AdamW", **options: Any) -> Plan:
    """A plan with an optimiser."""
    return Plan(steps, 7, optimiser=Optimiser(kind), **options)
