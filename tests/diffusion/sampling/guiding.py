"""A model that is led by hand: what guidance makes of conds, without a sampler around it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graphexec.diffusion.guiders import CfgGuider, Guider
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.sampling.effects import effects_of
from graphexec.diffusion.sampling.effects.base import Setting
from graphexec.diffusion.sampling.guidance import guide
from graphexec.diffusion.sampling.inputs import Surroundings
from graphexec.diffusion.sampling.predictor import Predictor
from graphexec.diffusion.sampling.samplers import Denoiser
from graphexec.diffusion.types import Conditioning, Model

SIGMAS = (14.0, 7.0, 2.0, 0.5, 0.0)


def denoiser(runtime: Runtime, guider: Guider, like: Tensor, sigmas: Sequence[float] = SIGMAS) -> Denoiser:
    """The denoiser of a guider for latents like [B, C, h, w]."""
    levels = model_sampling(guider.model.sampling)
    effects = effects_of(guider.model, Setting(levels, sigmas, 32, 0))
    around = Surroundings(guider.model, torch.zeros_like(like), None)
    return guide(guider, Predictor(runtime, guider.model, levels, around, effects))


def guided(
    runtime: Runtime,
    model: Model,
    x: Tensor,
    positive: Conditioning,
    negative: Conditioning,
    cfg: float,
    sigma: float = 2.0,
) -> Tensor:
    """The guided estimate from x."""
    with torch.no_grad():
        return denoiser(runtime, CfgGuider(model, positive, negative, cfg), x)(x, sigma)
