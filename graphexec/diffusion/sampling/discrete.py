"""The noise levels a model was trained on, and the way from them to its timesteps, inputs and predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from graphexec.diffusion.types import Prediction, Sampling

__all__ = ["ModelSampling", "model_sampling"]

TIMESTEPS = 1000

ABOVE_ALL = 999999999.9
"""What ComfyUI takes for the level at the very start of sampling."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelSampling:
    """A recipe with its levels: `sigmas` and `log_sigmas`, rising, float32 [T].

    Continuous levels have a table too, which the schedules that count in table entries use.
    """

    recipe: Sampling
    sigmas: Tensor
    log_sigmas: Tensor

    @property
    def sigma_min(self) -> float:
        """The lowest level."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """The highest level."""
        return float(self.sigmas[-1])

    def timestep(self, sigma: float) -> float:
        """What the network is told of `sigma`; a discrete model the number of the nearest level, in log space."""
        if self.recipe.levels == "edm":
            return 0.25 * math.log(sigma)
        if self.recipe.levels == "continuous_v":
            return math.atan(sigma) / math.pi * 2
        nearest = int((torch.tensor(sigma).log() - self.log_sigmas).abs().argmin())
        return nearest * self._stride + self._stride - 1

    def sigma(self, timestep: float) -> float:
        """The level of a fractional timestep; a discrete model interpolates in log space and stops at both ends."""
        if self.recipe.levels == "edm":
            return math.exp(timestep / 0.25)
        if self.recipe.levels == "continuous_v":
            return math.tan(timestep * math.pi / 2)
        entry = torch.tensor((timestep - (self._stride - 1)) / self._stride).clamp(0, len(self.sigmas) - 1)
        part = entry.frac()
        low, high = self.log_sigmas[entry.floor().long()], self.log_sigmas[entry.ceil().long()]
        return float(((1 - part) * low + part * high).exp())

    def percent_to_sigma(self, percent: float, *, within: bool = False) -> float:
        """The level at a fraction of the sampling range.

        0 lies above all levels and 1 is none; `within` gives the highest and the lowest instead.
        """
        if percent <= 0:
            return self.sigma_max if within else ABOVE_ALL
        if percent >= 1:
            return self.sigma_min if within else 0.0
        if self.recipe.levels == "discrete":
            return self.sigma((1 - percent) * (TIMESTEPS - 1))
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return math.exp(low + (high - low) * (1 - percent))

    def scale_input(self, x: Tensor, sigma: float) -> Tensor:
        """`x` with about unit variance, as the network takes it."""
        if self.recipe.prediction == "img_to_img":
            return x
        return x / math.sqrt(sigma**2 + self.recipe.sigma_data**2)

    def denoised(self, output: Tensor, sigma: float, x: Tensor) -> Tensor:
        """The estimate of the noiseless latent in `x` that the network's `output` stands for."""
        return READINGS[self.recipe.prediction](self, output, sigma, x)

    def is_full(self, sigma: float) -> bool:
        """Whether a run that begins at `sigma` begins with noise alone."""
        return sigma > self.sigma_max or math.isclose(sigma, self.sigma_max, rel_tol=1e-5)

    def scale_noise(self, noise: Tensor, latent: Tensor, sigma: float, *, full: bool) -> Tensor:
        """`latent` with `noise` at the level `sigma`; in a `full` run the latent counts as noise too."""
        return latent + noise * (math.sqrt(1 + sigma**2) if full else sigma)

    @property
    def _stride(self) -> int:
        """Timesteps from one entry of the table to the next."""
        return TIMESTEPS // len(self.sigmas) if self.recipe.levels == "discrete" else 1


@lru_cache(maxsize=64)
def model_sampling(sampling: Sampling) -> ModelSampling:
    """The levels of a recipe; equal recipes share one table."""
    sigmas = _discrete(sampling) if sampling.levels == "discrete" else _continuous(sampling)
    return ModelSampling(sampling, sigmas.float(), sigmas.log().float())


def _discrete(sampling: Sampling) -> Tensor:
    """Latent diffusion's levels: 1000 steps, betas 0.00085 to 0.012, linear in their square roots."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float64) ** 2
    kept = torch.cumprod(1.0 - betas, dim=0)
    sigmas = ((1 - kept) / kept) ** 0.5
    if sampling.zero_snr:
        sigmas = _to_zero_snr(sigmas)
    if sampling.original_timesteps is None:
        return sigmas
    stride = TIMESTEPS // sampling.original_timesteps
    return sigmas.float()[stride - 1 :: stride]


def _to_zero_snr(sigmas: Tensor) -> Tensor:
    """Levels stretched so that the last has no signal (Lin et al. 2023, algorithm 1), which would be infinite.

    Since no sampler can begin there, the last keeps as little signal as float32 allows, as in ComfyUI.
    """
    signal = (1 / (sigmas**2 + 1)).sqrt()
    signal = (signal - signal[-1]) * (signal[0] / (signal[0] - signal[-1]))
    kept = signal**2
    kept[-1] = 4.8973451890853435e-08
    return ((1 - kept) / kept) ** 0.5


def _continuous(sampling: Sampling) -> Tensor:
    """A table of continuous levels, even in log space."""
    return torch.linspace(math.log(sampling.sigma_min), math.log(sampling.sigma_max), TIMESTEPS).exp()


Reading = Callable[[ModelSampling, Tensor, float, Tensor], Tensor]


def _eps(levels: ModelSampling, output: Tensor, sigma: float, x: Tensor) -> Tensor:
    return x - output * sigma


def _v(levels: ModelSampling, output: Tensor, sigma: float, x: Tensor) -> Tensor:
    data = levels.recipe.sigma_data
    total = sigma**2 + data**2
    return x * (data**2 / total) - output * (sigma * data / math.sqrt(total))


def _edm(levels: ModelSampling, output: Tensor, sigma: float, x: Tensor) -> Tensor:
    """Karras et al. 2022, table 1: v with the opposite sign."""
    return _v(levels, -output, sigma, x)


def _x0(levels: ModelSampling, output: Tensor, sigma: float, x: Tensor) -> Tensor:
    return output


def _lcm(levels: ModelSampling, output: Tensor, sigma: float, x: Tensor) -> Tensor:
    """Luo et al. 2023 (https://arxiv.org/abs/2310.04378): boundary scaling, sigma_data 0.5, timesteps times 10."""
    time, data = levels.timestep(sigma) * 10.0, 0.5
    skip, out = data**2 / (time**2 + data**2), time / math.sqrt(time**2 + data**2)
    return (x - output * sigma) * out + x * skip


READINGS: Mapping[Prediction, Reading] = {
    "eps": _eps,
    "v": _v,
    "x0": _x0,
    "img_to_img": _x0,
    "lcm": _lcm,
    "edm": _edm,
}
