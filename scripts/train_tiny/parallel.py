"""A batch in parts, each in a thread of its own.

On two cores of a CPU that is a quarter faster than sharing every operation: those of a small network are too short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["InParts", "one_thread_each", "whole"]

Losses = Callable[..., Tensor]


def one_thread_each(count: int) -> ThreadPoolExecutor:
    """So many workers, in each of which torch computes by itself."""
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


def whole(losses: Losses, *batch: Tensor) -> Tensor:
    """The losses [B] of a batch, undivided."""
    return losses(*batch)


class InParts:
    """As `whole`, but of `count` parts at once; the gradients of `parameters` are found on the way."""

    def __init__(self, parameters: Sequence[nn.Parameter], count: int) -> None:
        self.parameters, self.count = parameters, count
        self.threads = one_thread_each(count)

    def __call__(self, losses: Losses, *batch: Tensor) -> Tensor:
        def part(i: int) -> tuple[Tensor, tuple[Tensor | None, ...]]:
            found = losses(*(each[i :: self.count] for each in batch))
            gradients = torch.autograd.grad(found.sum() / len(batch[0]), self.parameters, allow_unused=True)
            return found.detach(), gradients

        found, gradients = zip(*self.threads.map(part, range(self.count)), strict=True)
        summed = [_sum(each) for each in zip(*gradients, strict=True)]
        return _Found.apply(torch.cat(found), summed, *self.parameters)


def _sum(gradients: Sequence[Tensor | None]) -> Tensor | None:
    there = [gradient for gradient in gradients if gradient is not None]
    return reduce(torch.add, there) if there else None


class _Found(torch.autograd.Function):
    """Losses whose mean has gradients that are known already."""

    @staticmethod
    def forward(ctx: Any, losses: Tensor, gradients: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return losses.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        scale = outer[0].sum()  # 1 for the mean, which the gradients are of
        return None, None, *(None if gradient is None else gradient * scale for gradient in ctx.gradients)
