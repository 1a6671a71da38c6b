"""Muon: steps that turn a matrix of weights by the same amount in every direction (Jordan and others 2024,
https://kellerjordan.github.io/posts/muon).

`torch.optim.Muon` and the libraries' take no convolutions or compute in bf16, which most CPUs only emulate: the small
model's step took nine seconds with one of them, and takes a quarter of one here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "orthogonal"]

QUINTIC, ROUNDS = (3.4445, -4.7750, 2.0315), 5
"""Jordan's polynomial brings singular values of 0..1 near to one in five rounds."""
TABLE = 64
"""A matrix so many times longer than wide may be a table of embeddings, whose rows have nothing in common."""


class Muon(torch.optim.Optimizer):
    """Muon for matrices, convolutions [out, in x height x width] among them, AdamW for all other weights.

    `adam_lr` is AdamW's learning rate in parts of Muon's. With `tables`, matrices 64 times longer than wide are tables
    of embeddings, which are AdamW's too; without it they may be the up factors of LoRAs.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 0.02,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        adam_lr: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.99),
        tables: bool = False,
    ) -> None:
        defaults = {"momentum": momentum, "weight_decay": weight_decay, "adam_lr": adam_lr, "betas": betas, "steps": 0}
        super().__init__(params, {"lr": lr, **defaults})
        self._longest = TABLE if tables else math.inf

    @torch.no_grad()
    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            group["steps"] += 1
            given = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in given:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
            self._turn([parameter for parameter in given if self._is_matrix(parameter)], group)
            self._adamw([parameter for parameter in given if not self._is_matrix(parameter)], group)

    def _is_matrix(self, parameter: nn.Parameter) -> bool:
        return parameter.ndim >= 2 and len(parameter) < self._longest * parameter[0].numel()

    def _turn(self, matrices: Sequence[nn.Parameter], group: dict[str, Any]) -> None:
        alike = defaultdict[torch.Size, list[nn.Parameter]](list)
        for parameter in matrices:
            alike[parameter.flatten(1).shape].append(parameter)
        for (rows, columns), parameters in alike.items():
            pushed = [self._pushed(parameter, group["momentum"]) for parameter in parameters]
            rate = group["lr"] * max(1.0, rows / columns) ** 0.5
            for parameter, step in zip(parameters, orthogonal(torch.stack(pushed)), strict=True):
                parameter.add_(step.reshape(parameter.shape), alpha=-rate)

    def _pushed(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """The gradient with momentum (Nesterov's), as a matrix."""
        (mean,) = self._kept(parameter, "mean")
        mean.lerp_(_grad(parameter), 1 - momentum)
        return _grad(parameter).lerp(mean, momentum).flatten(1)

    def _adamw(self, given: Sequence[nn.Parameter], group: dict[str, Any]) -> None:
        first, second = group["betas"]
        rate = group["lr"] * group["adam_lr"] * (1 - second ** group["steps"]) ** 0.5 / (1 - first ** group["steps"])
        for parameter in given:
            mean, squares = self._kept(parameter, "mean", "squares")
            mean.lerp_(_grad(parameter), 1 - first)
            squares.mul_(second).addcmul_(_grad(parameter), _grad(parameter), value=1 - second)
            deviation = squares.sqrt().add_(1e-8)
            parameter.addcdiv_(mean, deviation, value=-rate)

    def _kept(self, parameter: nn.Parameter, *names: str) -> list[Tensor]:
        state = self.state[parameter]
        if not state:
            state.update({name: torch.zeros_like(parameter) for name in names})
        return [state[name] for name in names]


def orthogonal(matrices: Tensor) -> Tensor:
    """About U V^T for matrices U S V^T, [N, rows, columns], by Newton and Schulz' iteration.

    It runs on the smaller side's Gram matrices alone, of which every round is a polynomial.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    a, b, c = QUINTIC
    wide = matrices.mT if tall else matrices
    wide = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    gram = wide @ wide.mT
    turns = list[Tensor]()
    for i in range(ROUNDS):
        gram = turns[-1] @ turns[-1] @ gram if i else gram
        turn = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        turn.diagonal(dim1=1, dim2=2).add_(a)
        turns.append(turn)
    made = reduce(torch.matmul, turns) @ wide
    return made.mT if tall else made


def _grad(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
