"""Heun's method: Euler's, corrected with slopes further on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from graphexec.diffusion.sampling.samplers.contract import Run, Steps
from graphexec.diffusion.sampling.samplers.steps import mixed, slope

__all__ = ["heun", "heunpp2"]


def heun(run: Run) -> Steps:
    """Algorithm 2 of Karras et al. 2022 without churn; two evaluations a step."""
    x = run.x
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        direction = slope(x, denoised, sigma)
        if after > 0:
            guess = x + direction * (after - sigma)
            direction = (direction + slope(guess, run.denoise(guess, after), after)) / 2
        x = x + direction * (after - sigma)
    return x


def heunpp2(run: Run) -> Steps:
    """Heun++: up to three slopes a step, those further on weighed by their sigma (Li et al. 2024, sec. 4.3)."""
    x, end = run.x, len(run.sigmas) - 1
    for i, sigma, after in run.pairs():
        denoised = yield from run.look(i, x)
        slopes = _slopes(run, x, slope(x, denoised, sigma), run.sigmas[i : min(i + 3, end)])
        further = [level / (len(slopes) * run.sigmas[0]) for level in run.sigmas[i + 1 : i + len(slopes)]]
        x = x + mixed([1 - sum(further), *further], slopes) * (after - sigma)
    return x


def _slopes(run: Run, x: Tensor, first: Tensor, sigmas: Sequence[float]) -> list[Tensor]:
    """The slope at the first of `sigmas`, and those met going on from there with Euler."""
    slopes = [first]
    for sigma, after in pairwise(sigmas):
        x = x + slopes[-1] * (after - sigma)
        slopes.append(slope(x, run.denoise(x, after), after))
    return slopes
