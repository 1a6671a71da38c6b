"""Options about how the two estimates are combined."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from graphexec.diffusion.options import (
    AdaptiveProjection,
    CfgNorm,
    CfgZeroStar,
    EpsilonScaling,
    FreSca,
    Mahiro,
    PerpNeg,
    RescaleCfg,
    TangentialDamping,
)
from graphexec.diffusion.sampling.effects.base import Effect, Guess, Setting
from graphexec.diffusion.sampling.effects.frequencies import scale_frequencies

__all__ = [
    "Damping",
    "Frequencies",
    "Likeness",
    "Norm",
    "Perpendicular",
    "Projection",
    "Rescale",
    "ScaledNoise",
    "ZeroStar",
    "perp_neg",
]

ALL = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Rescale(Effect):
    """Guidance without overexposure: the guided v gets back the positive's standard deviation.

    Lin et al. 2023, section 3.4, https://arxiv.org/abs/2305.08891.
    """

    option: RescaleCfg
    setting: Setting

    def combine(self, guess: Guess) -> Tensor | None:
        """The two as predictions of v, guided, rescaled by `multiplier`, and back."""
        if guess.negative is None:
            return None
        total = guess.sigma**2 + 1
        scaled, root = guess.x / total, math.sqrt(total) / guess.sigma
        positive, negative = ((scaled - estimate) * root for estimate in (guess.positive, guess.negative))
        led = negative + (positive - negative) * guess.cfg
        whole = led * (positive.std(dim=ALL, keepdim=True) / led.std(dim=ALL, keepdim=True))
        v = whole * self.option.multiplier + led * (1 - self.option.multiplier)
        return scaled - v / root


class Projection(Effect):
    """Guidance whose part along the positive estimate is weighed by `eta` (https://arxiv.org/abs/2410.02416)."""

    def __init__(self, option: AdaptiveProjection, setting: Setting) -> None:
        self.option = option
        self._running: Tensor | None = None
        self._last = math.inf

    def guesses(self, guess: Guess) -> Guess:
        """The positive estimate from which classifier-free guidance makes the projected one; cfg 0 takes none of it."""
        if guess.negative is None or guess.cfg == 0:
            return guess
        difference = guess.positive - guess.negative
        guidance = self._limited(self._smoothed(difference, guess.sigma))
        direction = guess.positive / _length(guess.positive).clamp(min=1e-12)
        along = (guidance * direction).sum(dim=ALL, keepdim=True) * direction
        guidance = guidance - along + along * self.option.eta
        return replace(guess, positive=guess.negative + guidance + difference / guess.cfg)

    def _smoothed(self, difference: Tensor, sigma: float) -> Tensor:
        """With momentum, a running sum over the steps; a higher level than the last begins a new one."""
        if self.option.momentum == 0:
            return difference
        before = self._running if sigma <= self._last else None
        self._last = sigma
        self._running = difference if before is None else before * self.option.momentum + difference
        return self._running

    def _limited(self, guidance: Tensor) -> Tensor:
        """No longer than the threshold; 0 is none."""
        if self.option.norm_threshold == 0:
            return guidance
        return guidance * (self.option.norm_threshold / _length(guidance)).clamp(max=1.0)


@dataclass(frozen=True, slots=True)
class Norm(Effect):
    """The guided estimate is nowhere longer, over the channels, than the positive one."""

    option: CfgNorm
    setting: Setting

    def guided(self, guess: Guess, denoised: Tensor) -> Tensor:
        """Shortened, then times `strength`."""
        positive, led = (estimate.norm(dim=1, keepdim=True) for estimate in (guess.positive, denoised))
        return denoised * (positive / (led + 1e-8)).clamp(0.0, 1.0) * self.option.strength


@dataclass(frozen=True, slots=True)
class ZeroStar(Effect):
    """The negative prediction counts by how well it fits the positive (Fan et al. 2025, arXiv 2503.18886)."""

    option: CfgZeroStar
    setting: Setting

    def guided(self, guess: Guess, denoised: Tensor) -> Tensor:
        """With the negative estimate times the projection of the positive noise on the negative."""
        if guess.negative is None:
            return denoised
        positive, negative = (guess.x - estimate for estimate in (guess.positive, guess.negative))
        fit = (positive * negative).sum(dim=ALL, keepdim=True) / ((negative**2).sum(dim=ALL, keepdim=True) + 1e-8)
        return denoised + guess.negative * (fit - 1.0) * (1.0 - guess.cfg)


@dataclass(frozen=True, slots=True)
class Likeness(Effect):
    """Guidance that counts the less, beside a plain leap along the positive, the less the negative is like both."""

    option: Mahiro
    setting: Setting

    def guided(self, guess: Guess, denoised: Tensor) -> Tensor:
        """A mixture by the mean cosine of the roots of both."""
        if guess.negative is None:
            return denoised
        leap, away = guess.positive * guess.cfg, guess.negative * guess.cfg
        between = (leap + denoised) / 2
        alike = F.cosine_similarity(_signed_root(away), _signed_root(between)).mean() * 2 + 2
        return (denoised * alike + leap * (4 - alike)) / 4


@dataclass(frozen=True, slots=True)
class Damping(Effect):
    """The negative noise without what is tangential to the first singular direction of both.

    Kwon et al. 2025, https://arxiv.org/abs/2503.18137.
    """

    option: TangentialDamping
    setting: Setting

    def guesses(self, guess: Guess) -> Guess:
        """The negative estimate along that direction."""
        if guess.negative is None:
            return guess
        scores = [(guess.x - estimate).flatten(1).float() for estimate in (guess.negative, guess.positive)]
        direction = torch.linalg.svd(torch.stack(scores, dim=1), full_matrices=False).Vh[:, :1]
        along = (scores[0][:, None] @ direction.mT) * direction
        return replace(guess, negative=guess.x - along.view_as(guess.x).to(guess.x))


@dataclass(frozen=True, slots=True)
class Frequencies(Effect):
    """Low and high frequencies of the guidance are scaled apart (https://arxiv.org/abs/2504.02154)."""

    option: FreSca
    setting: Setting

    def guesses(self, guess: Guess) -> Guess:
        """The positive estimate with the scaled guidance."""
        if guess.negative is None:
            return guess
        guidance = scale_frequencies(
            guess.positive - guess.negative,
            low=self.option.scale_low,
            high=self.option.scale_high,
            cutoff=self.option.freq_cutoff,
        )
        return replace(guess, positive=guidance + guess.negative)


@dataclass(frozen=True, slots=True)
class ScaledNoise(Effect):
    """The predicted noise is divided by a factor (Ning et al. 2023, https://arxiv.org/abs/2308.15321)."""

    option: EpsilonScaling
    setting: Setting

    def guided(self, guess: Guess, denoised: Tensor) -> Tensor:
        """The estimate with so much less noise taken off."""
        return guess.x - (guess.x - denoised) / self.option.scaling_factor


@dataclass(frozen=True, slots=True)
class Perpendicular(Effect):
    """Away from the part of the negative that is perpendicular to the positive, see `perp_neg`."""

    option: PerpNeg
    setting: Setting

    def combine(self, guess: Guess) -> Tensor | None:
        """With one more forward pass, for the empty prompt."""
        if guess.negative is None:
            return None
        empty = guess.evaluate(self.option.empty, guess.x, [])
        return perp_neg(guess.positive, guess.negative, empty, guess.cfg, self.option.neg_scale)


def perp_neg(positive: Tensor, negative: Tensor, empty: Tensor, cfg: float, scale: float) -> Tensor:
    """Guidance by what of `negative` is perpendicular to `positive`, both above `empty`; if those are equal, by all.

    Armandpour et al. 2023, https://arxiv.org/abs/2304.04968.
    """
    towards, away = positive - empty, negative - empty
    length = towards.norm() ** 2
    along = ((away * towards).sum() / length).where(length > 0, 0.0)
    perpendicular = away - towards * along
    return empty + (towards - perpendicular * scale) * cfg


def _signed_root(x: Tensor) -> Tensor:
    return x.abs().sqrt() * x.sign()


def _length(x: Tensor) -> Tensor:
    return x.square().sum(dim=ALL, keepdim=True).sqrt()
