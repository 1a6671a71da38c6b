"""Samplers: each a generator that yields a `Step` for every noise level and returns the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from graphexec.diffusion.sampling.discrete import ModelSampling
from graphexec.diffusion.sampling.samplers import dpmpp, euler, heun, multistep
from graphexec.diffusion.sampling.samplers.contract import Denoiser, NoiseSource, Run, SamplerFunction, Step, Steps
from graphexec.diffusion.types import Sampler

__all__ = ["SAMPLER_FUNCTIONS", "Denoiser", "NoiseSource", "Run", "Step", "Steps", "sampler_steps"]

SAMPLER_FUNCTIONS: Mapping[str, SamplerFunction] = {
    "euler": euler.euler,
    "euler_ancestral": euler.euler_ancestral,
    "heun": heun.heun,
    "lms": multistep.lms,
    "dpmpp_2m": dpmpp.dpmpp_2m,
    # DDIM without its noise is Euler; what is its own, new noise around an inpainting mask, is not the sampler's.
    "ddim": euler.euler,
}


def sampler_steps(
    sampler: Sampler, denoise: Denoiser, x: Tensor, sigmas: Sequence[float], levels: ModelSampling, noise: NoiseSource
) -> Steps:
    """The steps of `sampler` from `x` [B, C, h, w], noised to the first of `sigmas`; their end is the result."""
    return SAMPLER_FUNCTIONS[sampler.name](Run(denoise, x, sigmas, levels, noise), **dict(sampler.options))
