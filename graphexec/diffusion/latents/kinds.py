"""Operations on latents as values, to be applied by a node or while sampling. Importing this imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LATENT_OPERATIONS", "LatentOperation", "Sharpen", "TonemapReinhard"]


@dataclass(frozen=True, slots=True)
class LatentOperation:
    """Base of what can be done to latents."""


@dataclass(frozen=True, slots=True)
class TonemapReinhard(LatentOperation):
    """Lengths of the cells' channels through Reinhard's curve, which gets steeper as `multiplier` falls."""

    multiplier: float


@dataclass(frozen=True, slots=True)
class Sharpen(LatentOperation):
    """Unsharp masking with a Gaussian of `sigma` (of half its width) over `radius` cells, `alpha` times over."""

    radius: int
    sigma: float
    alpha: float


LATENT_OPERATIONS: tuple[type[LatentOperation], ...] = (Sharpen, TonemapReinhard)
