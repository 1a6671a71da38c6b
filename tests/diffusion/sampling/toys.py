# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Denoisers without a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from graphexec.diffusion.sampling.discrete import ModelSampling


@dataclass
class Fake:
    """A denoiser made of one function; guidance makes no difference to it."""

    denoise: Callable[[Tensor, float], Tensor]
    calls: int = 0

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor:
        return self.with_uncond(x, sigma)[0]

    def with_uncond(self, x: Tensor, sigma: float, /) -> tuple[Tensor, Tensor]:
        self.calls += 1
        denoised = self.denoise(x, sigma)
        return denoised, denoised


@dataclass
class Toy:
    """The closed formula that was recorded in place of a model, guided at strength 2."""

    matrix: Tensor
    levels: ModelSampling
    calls: int = field(default=0, init=False)

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor:
        return self.with_uncond(x, sigma)[0]

    def with_uncond(self, x: Tensor, sigma: float, /) -> tuple[Tensor, Tensor]:
        self.calls += 1
        scaled = x / math.sqrt(sigma**2 + 1)
        y = torch.einsum("oc,bchw->bohw", self.matrix, scaled) + 0.6 * scaled
        y = y + 0.25 * scaled.roll(1, -1) - 0.15 * scaled.roll(1, -2)
        eps = y.tanh() * (0.5 + self.levels.timestep(sigma) / 1000) + 0.05
        cond = self.levels.denoised(eps, sigma, x)
        uncond = self.levels.denoised(0.9 * eps - 0.02, sigma, x)
        return uncond + (cond - uncond) * 2, uncond
