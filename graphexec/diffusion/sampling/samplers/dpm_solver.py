"""DPM-Solver of orders 1 to 3 (Lu et al. 2022, https://arxiv.org/abs/2206.00927), in time t = -log sigma.

Its steps lie evenly in t between the first and the last level above 0, where it stops: the sigmas given between them
do not count. Where the last is higher, it goes from a picture to its noise. With a single level there is no way to go,
and the estimate there is the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from graphexec.diffusion.faults import SigmasError
from graphexec.diffusion.sampling.samplers.contract import Run, Step, Steps
from graphexec.diffusion.sampling.samplers.steps import ancestral, slope

__all__ = ["dpm_adaptive", "dpm_fast"]

SHORTEST = 1e-7
"""A step in log sigma below which the adaptive solver gives up."""


@dataclass(slots=True)
class _Solver:
    """Steps from `x` at time `t`; `slopes` holds what is known of dx/dsigma there and at fractions of a step."""

    run: Run
    x: Tensor
    t: float
    slopes: dict[float, Tensor] = field(default_factory=dict[float, Tensor])

    def denoised(self) -> Tensor:
        """The estimate at `t`."""
        denoised = self.run.denoise(self.x, math.exp(-self.t))
        self.slopes[0.0] = slope(self.x, denoised, math.exp(-self.t))
        return denoised

    def first(self, h: float) -> Tensor:
        """A step of order 1 and length `h`."""
        return self.x - math.exp(-self.t - h) * math.expm1(h) * self.slopes[0.0]

    def second(self, h: float, r: float = 1 / 2) -> Tensor:
        """A step of order 2 that looks at the fraction `r` of it."""
        bend = self._at(r, h, self.first(r * h)) - self.slopes[0.0]
        return self.first(h) - math.exp(-self.t - h) / (2 * r) * math.expm1(h) * bend

    def third(self, h: float) -> Tensor:
        """A step of order 3 that looks at a third and at two thirds of it."""
        bend = self._at(1 / 3, h, self.first(h / 3)) - self.slopes[0.0]
        part = 2 / 3 * h
        guess = self.first(part) - math.exp(-self.t - part) * 2 * (math.expm1(part) / part - 1) * bend
        bend = self._at(2 / 3, h, guess) - self.slopes[0.0]
        return self.first(h) - math.exp(-self.t - h) * 1.5 * (math.expm1(h) / h - 1) * bend

    def _at(self, r: float, h: float, x: Tensor) -> Tensor:
        if r not in self.slopes:
            sigma = math.exp(-self.t - r * h)
            self.slopes[r] = slope(x, self.run.denoise(x, sigma), sigma)
        return self.slopes[r]


def dpm_fast(run: Run) -> Steps:
    """As few steps as spend one evaluation for each sigma given: of order 3, the last of a lower one."""
    calls = len(run.sigmas) - 1
    whole = calls // 3
    orders = [3] * (whole - 1) + [2, 1] if calls % 3 == 0 else [3] * whole + [calls % 3]
    start, end = _ends(run.sigmas)
    h, x = (end - start) / len(orders), run.x
    for i, order in enumerate(orders):
        solver = _Solver(run, x, start + i * h)
        denoised = solver.denoised()
        yield Step(i, len(orders), math.exp(-solver.t), x, denoised)
        if h == 0:
            return denoised
        x = (solver.first, solver.second, solver.third)[order - 1](h)
    return x


@dataclass(frozen=True, slots=True)
class Adaptive:
    """How the adaptive solver judges its steps: tolerances, and a PID controller of their length."""

    order: int = 3
    rtol: float = 0.05
    atol: float = 0.0078
    h_init: float = 0.05
    pcoeff: float = 0.0
    icoeff: float = 1.0
    dcoeff: float = 0.0
    accept_safety: float = 0.81
    eta: float = 0.0
    s_noise: float = 1.0

    def error(self, low: Tensor, high: Tensor, before: Tensor) -> float:
        """How far two orders lie apart, in tolerances."""
        tolerated = torch.maximum(low.abs(), before.abs()).mul(self.rtol).clamp_min(self.atol)
        return float(torch.linalg.vector_norm((low - high) / tolerated)) / math.sqrt(low.numel())

    def factor(self, inverse_errors: Sequence[float]) -> float:
        """By how much to change the step, from the inverse errors of this and the two last accepted steps."""
        order = 1.5 if self.eta else self.order
        powers = (self.pcoeff + self.icoeff + self.dcoeff, -(self.pcoeff + 2 * self.dcoeff), self.dcoeff)
        wanted = math.prod(e ** (power / order) for e, power in zip(inverse_errors, powers, strict=True))
        return 1 + math.atan(wanted - 1)

    def target(self, t: float, h: float, end: float) -> tuple[float, float]:
        """How far the solver goes in a step of length `h`, and the noise that brings it back up from there."""
        if not self.eta:
            return h, 0.0
        sigma, after = math.exp(-t), math.exp(-t - h)
        down, _ = ancestral(sigma, after, self.eta)
        reached = end if down == 0 else min(end, -math.log(down))
        return reached - t, math.sqrt(max(after**2 - math.exp(-2 * reached), 0.0))


def dpm_adaptive(run: Run, **options: float) -> Steps:
    """Steps of order 3 (or 2) as long as the order below agrees with them; a rejected one is tried again, shorter.

    How many there will be is not known: each `Step.total` is an estimate from the length of the next.
    """
    control = replace(Adaptive(), **options)
    t, end = _ends(run.sigmas)
    noise, x, before = run.noise.independent(), run.x, run.x
    h, i, errors = math.copysign(control.h_init, end - t), 0, list[float]()
    if t == end:
        return (yield from _only(run))
    while abs(end - t) > 1e-5:
        if not abs(h) >= SHORTEST:  # It may be no number.
            raise SigmasError("the steps of dpm_adaptive become too short: raise rtol, atol or h_init")
        solver = _Solver(run, x, t)
        denoised = solver.denoised()
        yield Step(i, i + math.ceil(abs(end - t) / max(abs(h), 1e-5)), math.exp(-t), x, denoised)
        step = min(h, end - t, key=abs)
        down, up = control.target(t, step, end)
        low, high = _orders(solver, down, control.order)
        inverse = 1 / (control.error(low, high, before) + 1e-8)
        errors = [inverse, *errors[1:]] if errors else [inverse] * 3
        factor = control.factor(errors)
        if factor >= control.accept_safety:
            errors = [inverse, inverse, errors[1]]
            x, before = high, low
            if up * control.s_noise > 0:
                x = x + noise(math.exp(-t), math.exp(-t - step)) * (up * control.s_noise)
            t += step
        h, i = h * factor, i + 1
    return x


def _orders(solver: _Solver, h: float, order: int) -> tuple[Tensor, Tensor]:
    """The step by the order below, and by `order`."""
    return (solver.first(h), solver.second(h)) if order == 2 else (solver.second(h, 1 / 3), solver.third(h))


def _only(run: Run) -> Steps:
    return (yield from run.look(0, run.x))


def _ends(sigmas: Sequence[float]) -> tuple[float, float]:
    """The times at which to begin and to stop."""
    last = sigmas[-1] if sigmas[-1] > 0 else sigmas[-2]
    return -math.log(sigmas[0]), -math.log(last)
