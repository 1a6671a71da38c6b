"""UniPC (Zhao et al. 2023, https://arxiv.org/abs/2302.04867): a predictor with a corrector for each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from graphexec.diffusion.faults import SigmasError
from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import mixed

__all__ = ["uni_pc", "uni_pc_bh2"]

LAST = 0.001
"""Stands for the level 0, whose logarithm the method cannot take."""

ORDER = 3


def uni_pc(run: Run) -> Steps:
    """UniPC with B(h) = h."""
    return _uni_pc(run, lambda h: h)


def uni_pc_bh2(run: Run) -> Steps:
    """UniPC with B(h) = exp(h) - 1."""
    return _uni_pc(run, math.expm1)


def _level(sigma: float) -> float:
    """`sigma` as the authors' code finds it again from the share of the signal, in float32.

    There 0.001 becomes 0.00098, which shows in the result; exact levels would give other pictures. Raises `SigmasError`
    for levels that are lost there.
    """
    mean = 0.5 * (1 / (torch.tensor(sigma) ** 2 + 1)).log()
    deviation = 0.5 * (1 - (2 * mean).exp()).log()
    if not deviation.isfinite():
        raise SigmasError(
            f"the noise level {sigma:g} is too low for uni_pc: take a sampler like euler, or other levels"
        )
    return math.exp(float(deviation - mean))


def _uni_pc(run: Run, scale: Callable[[float], float]) -> Steps:
    """One evaluation a step, of the prediction; the correction starts the next step. Order 3, less at both ends."""
    sigmas = [_level(sigma or LAST) for sigma in run.sigmas]
    steps = len(sigmas) - 1
    highest = max(min(ORDER, steps - 1), 1)
    x = run.x
    denoised = yield from run.look(0, x)
    known = [(sigmas[0], denoised)]
    for i in range(1, steps + 1):
        order = i if i < highest else min(highest, steps + 1 - i)
        step = _Step.of(known[:order], sigmas[i], scale)
        predicted = step.predicted(x)
        if i == steps:
            return predicted
        denoised = yield from run.look(i, predicted)
        x = step.corrected(x, denoised)
        known = [(sigmas[i], denoised), *known][:ORDER]
    return x


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of length `h` in -log sigma.

    `changes` are the differences between earlier estimates and the newest, each divided by its place: the time at
    which it was made, in steps from now. `places` ends in 1, the end of the step.
    """

    newest: Tensor
    changes: tuple[Tensor, ...]
    places: tuple[float, ...]
    h: float
    scale: float

    @classmethod
    def of(cls, known: Sequence[tuple[float, Tensor]], after: float, scale: Callable[[float], float]) -> _Step:
        """The step to the level `after` from estimates at known levels, the newest first."""
        (sigma, newest), *earlier = known
        h = math.log(sigma / after)
        places = [math.log(sigma / level) / h for level, _ in earlier]
        changes = tuple((old - newest) / place for place, (_, old) in zip(places, earlier, strict=True))
        return cls(newest, changes, (*places, 1.0), h, scale(-h))

    def predicted(self, x: Tensor) -> Tensor:
        """The end of the step, from earlier estimates alone."""
        if not self.changes:
            return self._first(x)
        # The authors take 1/2 for the order 2 instead of the solution.
        weights = [0.5] if len(self.changes) == 1 else self._weights(len(self.changes))
        return self._first(x) - self.scale * mixed(weights, self.changes)

    def corrected(self, x: Tensor, denoised: Tensor) -> Tensor:
        """The end of the step, with the estimate at what was predicted."""
        weights = self._weights(len(self.places)) if self.changes else [0.5]
        return self._first(x) - self.scale * mixed(weights, (*self.changes, denoised - self.newest))

    def _first(self, x: Tensor) -> Tensor:
        return x * math.exp(-self.h) - self.newest * math.expm1(-self.h)

    def _weights(self, order: int) -> list[float]:
        """What makes the step exact for estimates that are polynomials in time."""
        phi, factorial, wanted = math.expm1(-self.h) / -self.h - 1, 1, list[float]()
        for k in range(1, order + 1):
            wanted.append(phi * factorial / self.scale)
            factorial *= k + 1
            phi = phi / -self.h - 1 / factorial
        powers = np.vander(np.array(self.places[:order]), order, increasing=True).T
        return np.linalg.solve(powers, np.array(wanted)).tolist()
