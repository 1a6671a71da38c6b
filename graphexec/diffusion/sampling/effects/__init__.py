"""What the options of a model recipe do while it is sampled: one file for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphexec.diffusion import options
from graphexec.diffusion.sampling.effects import (
    freeu,
    guidance,
    hypernetworks,
    inpainting,
    latents,
    perturbed,
    reuse,
    shrinking,
    tokens,
)
from graphexec.diffusion.sampling.effects.base import Effect, Setting
from graphexec.diffusion.types import Model, ModelOption

__all__ = ["EFFECTS", "effects_of"]

EFFECTS: Mapping[type[ModelOption], Callable[[Any, Setting], Effect]] = {
    options.AdaptiveProjection: guidance.Projection,
    options.CfgNorm: guidance.Norm,
    options.CfgZeroStar: guidance.ZeroStar,
    options.DeepShrink: shrinking.Shrunk,
    options.DifferentialDiffusion: inpainting.Differential,
    options.EasyCache: reuse.EasyReuse,
    options.EpsilonScaling: guidance.ScaledNoise,
    options.FreSca: guidance.Frequencies,
    options.FreeU: freeu.Backbone,
    options.HyperTile: tokens.Tiled,
    options.Hypernetwork: hypernetworks.Hyper,
    options.LazyCache: reuse.LazyReuse,
    options.Mahiro: guidance.Likeness,
    options.PerpNeg: guidance.Perpendicular,
    options.OperateOnGuidance: latents.Operated,
    options.PerturbedAttention: perturbed.Perturbed,
    options.RescaleCfg: guidance.Rescale,
    options.SelfAttention: perturbed.Blurred,
    options.TangentialDamping: guidance.Damping,
    options.TokenMerging: tokens.Merged,
}


def effects_of(model: Model, setting: Setting) -> list[Effect]:
    """What a model's options do in a run, in their order."""
    return [EFFECTS[type(option)](option, setting) for option in model.options]
