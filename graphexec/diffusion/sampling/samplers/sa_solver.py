"""SA-Solver (Xue et al. 2023, https://arxiv.org/abs/2309.05019): stochastic Adams, predictor and corrector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import integrals, mixed

__all__ = ["sa_solver", "sa_solver_pece"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Noise of strength `eta` between two levels, by default those at 20 and 80 % of the sampling range."""

    eta: float = 1.0
    s_noise: float = 1.0
    sde_start_sigma: float = math.nan
    sde_end_sigma: float = math.nan
    predictor_order: int = 3
    corrector_order: int = 4
    use_pece: bool = False
    simple_order_2: bool = False

    def within(self, run: Run) -> Settings:
        """With the levels between which there is noise filled in."""
        start, end = self.sde_start_sigma, self.sde_end_sigma
        return replace(
            self,
            sde_start_sigma=run.levels.percent_to_sigma(0.2) if math.isnan(start) else start,
            sde_end_sigma=run.levels.percent_to_sigma(0.8) if math.isnan(end) else end,
        )

    def tau(self, sigma: float) -> float:
        """The strength of the noise on the way to `sigma`."""
        return self.eta if self.sde_start_sigma >= sigma >= self.sde_end_sigma else 0.0

    def orders(self, i: int, known: int, sigmas: Sequence[float]) -> tuple[int, int]:
        """Orders of predictor and corrector in step `i`; both fall towards level 0, and 0 is none."""
        last, to_zero = len(sigmas) - 1, sigmas[-1] == 0
        predict, correct = min(self.predictor_order, known), min(self.corrector_order, known)
        if to_zero:
            predict, correct = min(predict, last - 1 - i), min(correct, last - i)
        if i == 0 or (sigmas[i + 1] == 0 and not self.use_pece):
            correct = 0
        return predict, correct

    def adams(self, x: Tensor, way: tuple[float, float], tau: float, known: Sequence[tuple[float, Tensor]]) -> Tensor:
        """A step from one level to another through estimates at `known` levels, the newest first."""
        sigma, after = way
        h = math.log(sigma / after)
        points = [math.log(after / level) for level, _ in known]
        weights = self._weights(points, h, tau**2 + 1)
        return x * (after / sigma * math.exp(-(tau**2) * h)) + mixed(weights, [estimate for _, estimate in known])

    def _weights(self, points: Sequence[float], h: float, k: float) -> list[float]:
        """Of estimates at times relative to the end of a step of length `h`, where times are -log sigma."""
        if self.simple_order_2 and len(points) == 2:  # Appendix D of the paper.
            newest, oldest = points
            if newest == 0:
                return [k * h / 2, -math.expm1(-k * h) - k * h / 2]
            old = k * h**2 / 2 / (oldest + h)
            return [-math.expm1(-k * h) - old, old]
        return integrals(points, -h, 0.0, lambda at: k * np.exp(k * at))


def sa_solver_pece(run: Run) -> Steps:
    """SA-Solver that evaluates again what it has corrected."""
    return sa_solver(run, use_pece=True)


def sa_solver(run: Run, **options: float) -> Steps:
    """SA-Solver: each step is predicted, evaluated, and corrected when the next begins."""
    settings = replace(Settings(), **options).within(run)
    noise, sigmas = run.noise.independent(), run.sigmas
    x = predicted = run.x
    added: Tensor | float = 0.0
    tau, known = 0.0, list[tuple[float, Tensor]]()
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, predicted)
        known = [(sigma, denoised), *known][: max(settings.predictor_order, settings.corrector_order)]
        predict, correct = settings.orders(i, len(known), sigmas)
        if correct == 0:
            x = predicted
        else:
            x = settings.adams(x, (sigmas[i - 1], sigma), tau, known[:correct]) + added
            if settings.use_pece:
                denoised = run.denoise(x, sigma)
                known[0] = sigma, denoised
        if after == 0:
            return denoised
        tau = settings.tau(after)
        predicted = settings.adams(x, (sigma, after), tau, known[:predict])
        added = 0.0
        if tau * settings.s_noise > 0:
            spread = math.sqrt(-math.expm1(-2 * tau**2 * math.log(sigma / after)))
            added = noise(sigma, after) * (after * spread * settings.s_noise)
        predicted = predicted + added
    return predicted
