"""ER-SDE-Solver (Cui et al. 2023, https://arxiv.org/abs/2309.06169): extended reverse-time equations, order 1 to 3."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from torch import Tensor

from graphexec.diffusion.sampling.samplers.contract import Run, Steps

__all__ = ["er_sde"]

SolverType = Literal["ER-SDE", "Reverse-time SDE", "ODE"]
Scaler = Callable[[float], float]

POINTS = 200
"""Points of the integrals over a step, as the method's authors take them."""


def er_sde(
    run: Run,
    *,
    solver_type: SolverType = "ER-SDE",
    max_stage: int = 3,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Steps:
    """Multistep, of the order `max_stage`; `eta` counts for the reverse-time equation only."""
    scale = _scalers(eta)[solver_type]
    noisy = s_noise > 0 and solver_type != "ODE" and not (solver_type == "Reverse-time SDE" and eta == 0)
    x, noise = run.x, run.noise.independent()
    estimates: list[Tensor] = []
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        if after == 0:
            return denoised
        estimates = [denoised, *estimates[: max_stage - 1]]
        kept = scale(after) / scale(sigma)
        x = kept * x + (1 - kept) * denoised
        for weight, difference in _bends(run, i, estimates, scale):
            x = x + weight * difference
        if noisy:
            x = x + noise(sigma, after) * (s_noise * math.sqrt(max(after**2 - (sigma * kept) ** 2, 0.0)))
    return x


def _bends(run: Run, i: int, estimates: list[Tensor], scale: Scaler) -> list[tuple[float, Tensor]]:
    """Weights and divided differences of the second and the third order, as far as there are estimates."""
    if len(estimates) < 2:
        return []
    sigma, after = run.sigmas[i], run.sigmas[i + 1]
    change = (estimates[0] - estimates[1]) / (sigma - run.sigmas[i - 1])
    at = after + np.arange(POINTS) * ((sigma - after) / POINTS)
    inverse = np.array([1 / scale(level) for level in at.tolist()]) * ((sigma - after) / POINTS)
    bends = [(after - sigma + float(inverse.sum()) * scale(after), change)]
    if len(estimates) == 3:
        before = (estimates[1] - estimates[2]) / (run.sigmas[i - 1] - run.sigmas[i - 2])
        weight = (after - sigma) ** 2 / 2 + float((inverse * (at - sigma)).sum()) * scale(after)
        bends.append((weight, (change - before) / ((sigma - run.sigmas[i - 2]) / 2)))
    return bends


def _scalers(eta: float) -> Mapping[SolverType, Scaler]:
    """How noise scales with the level: phi of the paper."""
    return {
        "ER-SDE": lambda level: level * (math.exp(level**0.3) + 10.0),
        "Reverse-time SDE": lambda level: level ** (eta + 1),
        "ODE": lambda level: level,
    }
