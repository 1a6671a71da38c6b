"""Options of a model recipe: what changes how a model is run rather than its weights. Importing this imports no torch.

What each does, and the paper it comes from, is in `graphexec.diffusion.sampling.effects`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphexec.diffusion.latents.kinds import LatentOperation
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import Conditioning, ModelOption

__all__ = [
    "OPTIONS",
    "AdaptiveProjection",
    "CfgNorm",
    "CfgZeroStar",
    "DeepShrink",
    "DifferentialDiffusion",
    "EasyCache",
    "EpsilonScaling",
    "FreSca",
    "FreeU",
    "HyperTile",
    "Hypernetwork",
    "LazyCache",
    "Mahiro",
    "OperateOnGuidance",
    "PerpNeg",
    "PerturbedAttention",
    "Resampling",
    "RescaleCfg",
    "SelfAttention",
    "TangentialDamping",
    "TokenMerging",
]

Resampling = Literal["bicubic", "nearest-exact", "bilinear", "area", "bislerp"]


@dataclass(frozen=True, slots=True)
class AdaptiveProjection(ModelOption):
    """Guidance whose part along the estimate is weighed by `eta`, limited in length, with momentum (APG)."""

    eta: float
    norm_threshold: float
    momentum: float


@dataclass(frozen=True, slots=True)
class CfgNorm(ModelOption):
    """The guided estimate is nowhere longer than the positive one; then times `strength`."""

    strength: float


@dataclass(frozen=True, slots=True)
class CfgZeroStar(ModelOption):
    """The negative counts by how well it fits the positive."""


@dataclass(frozen=True, slots=True)
class DeepShrink(ModelOption):
    """The feature map is `factor` times smaller from input block `block` on, in a part of the sampling range."""

    block: int
    factor: float
    start: float
    end: float
    after_skip: bool
    downscale_method: Resampling
    upscale_method: Resampling


@dataclass(frozen=True, slots=True)
class DifferentialDiffusion(ModelOption):
    """A grey noise mask says how early each place may begin to change."""

    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class EasyCache(ModelOption):
    """Forward passes are left out while the output is foretold to change by less than a threshold."""

    reuse_threshold: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class EpsilonScaling(ModelOption):
    """The predicted noise is divided by a factor."""

    scaling_factor: float


@dataclass(frozen=True, slots=True)
class FreSca(ModelOption):
    """Low and high frequencies of the guidance are scaled apart."""

    scale_low: float
    scale_high: float
    freq_cutoff: int


@dataclass(frozen=True, slots=True)
class FreeU(ModelOption):
    """The UNet's backbone is weighed against its skip connections at the two deepest widths.

    `by_structure` is version 2: the backbone is raised more where more is going on.
    """

    b1: float
    b2: float
    s1: float
    s2: float
    by_structure: bool


@dataclass(frozen=True, slots=True)
class Hypernetwork(ModelOption):
    """Small networks in a file change the inputs of keys and values, times `strength`."""

    file: WeightsFile
    strength: float


@dataclass(frozen=True, slots=True)
class HyperTile(ModelOption):
    """Self-attention inside tiles of at least `tile_size` pixels, at the first `max_depth` + 1 resolutions."""

    tile_size: int
    swap_size: int
    max_depth: int
    scale_depth: bool


@dataclass(frozen=True, slots=True)
class LazyCache(ModelOption):
    """Whole steps are left out while the estimate is foretold to change by less than a threshold."""

    reuse_threshold: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Mahiro(ModelOption):
    """Guidance that counts the less, the less the negative is like the positive."""


@dataclass(frozen=True, slots=True)
class PerpNeg(ModelOption):
    """Guidance away from what of the negative is perpendicular to the positive, both above `empty`."""

    empty: Conditioning
    neg_scale: float


@dataclass(frozen=True, slots=True)
class OperateOnGuidance(ModelOption):
    """An operation on latents is applied to the difference of the two estimates, before guidance scales it."""

    operation: LatentOperation


@dataclass(frozen=True, slots=True)
class PerturbedAttention(ModelOption):
    """Guidance away from what the model makes of the prompt without self-attention in its middle (PAG)."""

    scale: float


@dataclass(frozen=True, slots=True)
class RescaleCfg(ModelOption):
    """Guidance whose standard deviation is brought back to that of the positive prediction by `multiplier`."""

    multiplier: float


@dataclass(frozen=True, slots=True)
class SelfAttention(ModelOption):
    """Guidance away from what the model makes of a picture blurred where it attends most (SAG)."""

    scale: float
    blur_sigma: float


@dataclass(frozen=True, slots=True)
class TangentialDamping(ModelOption):
    """The negative noise without what is tangential to the positive (TCFG)."""


@dataclass(frozen=True, slots=True)
class TokenMerging(ModelOption):
    """A `ratio` of the queries of self-attention is merged into others like them (ToMe)."""

    ratio: float


OPTIONS: tuple[type[ModelOption], ...] = (
    AdaptiveProjection,
    CfgNorm,
    CfgZeroStar,
    DeepShrink,
    DifferentialDiffusion,
    EasyCache,
    EpsilonScaling,
    FreSca,
    FreeU,
    HyperTile,
    Hypernetwork,
    LazyCache,
    Mahiro,
    OperateOnGuidance,
    PerpNeg,
    PerturbedAttention,
    RescaleCfg,
    SelfAttention,
    TangentialDamping,
    TokenMerging,
)
