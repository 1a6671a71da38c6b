"""From a model and its conditioning to a denoiser: the kinds of guidance, and inpainting around any of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from graphexec.diffusion.guiders import CfgGuider, DualCfgGuider, Guider, PerpNegGuider
from graphexec.diffusion.models.taps import Tap
from graphexec.diffusion.sampling.conds import prepare, share_areas, share_controls
from graphexec.diffusion.sampling.discrete import ModelSampling
from graphexec.diffusion.sampling.effects.base import Effect, Evaluate, Guess, Predict, Side
from graphexec.diffusion.sampling.effects.guidance import perp_neg
from graphexec.diffusion.sampling.predictor import Asked, Predictor
from graphexec.diffusion.sampling.samplers import Denoiser
from graphexec.diffusion.types import Conditioning

__all__ = ["Inpainting", "guide"]


@dataclass(frozen=True, slots=True)
class Guided:
    """Guidance towards `positive`, which needs no more, or away from `negative` at strength `cfg`."""

    predictor: Predictor
    positive: Asked
    negative: Asked | None
    cfg: float

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor:
        """The guided estimate of the noiseless latent."""
        needed = not math.isclose(self.cfg, 1.0) or any(e.needs_negative for e in self.predictor.effects)
        return self._estimate(x, sigma, with_negative=needed)[0]

    def with_uncond(self, x: Tensor, sigma: float, /) -> tuple[Tensor, Tensor]:
        """The guided estimate, and the negative one as the effects have it, which is computed at any cfg."""
        return self._estimate(x, sigma, with_negative=True)

    def _estimate(self, x: Tensor, sigma: float, *, with_negative: bool) -> tuple[Tensor, Tensor]:
        asked = [self.negative] if with_negative and self.negative else []
        *negative, positive = self.predictor(x, sigma, [*asked, self.positive])
        again = evaluator(self.predictor, sigma, self.positive, self.negative)
        guess = Guess(x, sigma, self.cfg, positive, negative[0] if negative else None, again)
        return combined(self.predictor.effects, guess)


@dataclass(frozen=True, slots=True)
class DualGuided:
    """Guidance by two prompts, see `DualCfgGuider`."""

    predictor: Predictor
    positive: Asked
    middle: Asked
    negative: Asked
    guider: DualCfgGuider

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor:
        """The guided estimate of the noiseless latent."""
        return self._estimate(x, sigma, with_uncond=False)[0]

    def with_uncond(self, x: Tensor, sigma: float, /) -> tuple[Tensor, Tensor]:
        """The guided estimate, and the one that classifier-free guidance led away from: nested, that is the middle."""
        return self._estimate(x, sigma, with_uncond=True)

    def _estimate(self, x: Tensor, sigma: float, *, with_uncond: bool) -> tuple[Tensor, Tensor]:
        """What is not used at cfg 1 is not predicted, unless effects may use it."""
        cfg, outer, effects = self.guider.cfg, self.guider.cfg_middle, self.predictor.effects
        without_middle = math.isclose(cfg, 1.0) and not effects and not with_uncond
        if self.guider.nested:
            return self._nested(x, sigma, with_middle=not without_middle)
        needed = with_uncond or not math.isclose(outer, 1.0) or any(e.needs_negative for e in effects)
        if without_middle and not needed:
            positive = self.predictor(x, sigma, [self.positive])[0]
            return positive, positive
        asked = [self.negative, self.middle, self.positive] if needed else [self.middle, self.positive]
        *negative, middle, positive = self.predictor(x, sigma, asked)
        again = evaluator(self.predictor, sigma, self.middle, self.negative)
        led, uncond = combined(effects, Guess(x, sigma, outer, middle, negative[0] if needed else None, again))
        return led + (positive - middle) * cfg, uncond

    def _nested(self, x: Tensor, sigma: float, *, with_middle: bool) -> tuple[Tensor, Tensor]:
        cfg, outer = self.guider.cfg, self.guider.cfg_middle
        negative = [] if math.isclose(outer, 1.0) else [self.negative]
        middle = [self.middle] if with_middle else []
        *others, positive = self.predictor(x, sigma, [*negative, *middle, self.positive])
        again = evaluator(self.predictor, sigma, self.positive, self.middle)
        guess = Guess(x, sigma, cfg, positive, others[-1] if middle else None, again)
        inner, uncond = combined(self.predictor.effects, guess)
        return (others[0] + (inner - others[0]) * outer if negative else inner), uncond


@dataclass(frozen=True, slots=True)
class PerpNegGuided:
    """Guidance away from what is perpendicular, see `PerpNegGuider`."""

    predictor: Predictor
    positive: Asked
    negative: Asked
    empty: Asked
    guider: PerpNegGuider

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor:
        """The guided estimate of the noiseless latent."""
        return self.with_uncond(x, sigma)[0]

    def with_uncond(self, x: Tensor, sigma: float, /) -> tuple[Tensor, Tensor]:
        """The guided estimate, and the negative one."""
        negative, positive, empty = self.predictor(x, sigma, [self.negative, self.positive, self.empty])
        denoised = perp_neg(positive, negative, empty, self.guider.cfg, self.guider.neg_scale)
        again = evaluator(self.predictor, sigma, self.positive, self.negative)
        guess = Guess(x, sigma, self.guider.cfg, positive, negative, again)
        for effect in self.predictor.effects:
            denoised = effect.guided(guess, denoised)
        return denoised, negative


@dataclass(frozen=True, slots=True)
class Affected:
    """A denoiser whose steps the effects of options may change or leave out."""

    inner: Denoiser
    effects: Sequence[Effect]

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor:
        """The guided estimate of the noiseless latent."""
        denoise: Predict = partial(self._inner, sigma)
        for effect in reversed(self.effects):
            denoise = partial(effect.denoise, sigma=sigma, predict=denoise)
        return denoise(x)

    def with_uncond(self, x: Tensor, sigma: float, /) -> tuple[Tensor, Tensor]:
        """Always computed: what is kept of earlier steps has no negative."""
        return self.inner.with_uncond(x, sigma)

    def _inner(self, sigma: float, x: Tensor) -> Tensor:
        return self.inner(x, sigma)


@dataclass(frozen=True, slots=True)
class Inpainting:
    """Keeps what a mask leaves out: it sees `latent` noised to each step's level, and comes back as it was."""

    inner: Denoiser
    latent: Tensor
    mask: Tensor
    noise: Tensor
    levels: ModelSampling
    effects: Sequence[Effect] = ()

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor:
        """The estimate of the noiseless latent, `latent` itself outside the mask."""
        mask = self._mask(sigma)
        return self._outside(self.inner(self._seen(x, mask, sigma), sigma), mask)

    def with_uncond(self, x: Tensor, sigma: float, /) -> tuple[Tensor, Tensor]:
        """The same, and the negative estimate as it is."""
        mask = self._mask(sigma)
        denoised, uncond = self.inner.with_uncond(self._seen(x, mask, sigma), sigma)
        return self._outside(denoised, mask), uncond

    def _mask(self, sigma: float) -> Tensor:
        mask = self.mask
        for effect in self.effects:
            mask = effect.mask(mask, sigma)
        return mask

    def _seen(self, x: Tensor, mask: Tensor, sigma: float) -> Tensor:
        return x * mask + self._noised(sigma) * (1 - mask)

    def _noised(self, sigma: float) -> Tensor:
        return self.levels.scale_noise(self.noise, self.latent, sigma, full=False)

    def _outside(self, denoised: Tensor, mask: Tensor) -> Tensor:
        return denoised * mask + self.latent * (1 - mask)


def guide(guider: Guider, predictor: Predictor) -> Denoiser:
    """The denoiser that a guider asks for."""
    guided = _guided(guider, predictor)
    return Affected(guided, predictor.effects) if predictor.effects else guided


def _guided(guider: Guider, predictor: Predictor) -> Denoiser:
    match guider:
        case CfgGuider():
            positive, negative = _asked(predictor, guider.positive, guider.negative)
            return Guided(predictor, positive, negative, guider.cfg)
        case DualCfgGuider():
            positive, middle, negative = _asked(predictor, guider.positive, guider.middle, guider.negative)
            return DualGuided(predictor, positive, middle, negative, guider)
        case PerpNegGuider():
            positive, empty, negative = _asked(predictor, guider.positive, guider.empty, guider.negative)
            return PerpNegGuided(predictor, positive, negative, empty, guider)
        case _:
            return Guided(predictor, _asked(predictor, guider.positive)[0], None, 1.0)


def evaluator(predictor: Predictor, sigma: float, positive: Asked, negative: Asked | None) -> Evaluate:
    """Predicts for a side, or a conditioning, from other latents; without a negative both sides are the positive."""

    def evaluate(side: Side | Conditioning, x: Tensor, taps: Sequence[Tap]) -> Tensor:
        if isinstance(side, Conditioning):
            return predictor(x, sigma, [Asked("other", predictor.ready(side))], taps)[0]
        return predictor(x, sigma, [negative if side == "negative" and negative else positive], taps)[0]

    return evaluate


def combined(effects: Sequence[Effect], guess: Guess) -> tuple[Tensor, Tensor]:
    """The guided estimate from the two, and the negative one (the positive without one), as the effects have them.

    The last effect that combines them decides.
    """
    for effect in effects:
        guess = effect.guesses(guess)
    found = (effect.combine(guess) for effect in reversed(effects))
    denoised = next((own for own in found if own is not None), None)
    denoised = classifier_free(guess) if denoised is None else denoised
    for effect in effects:
        denoised = effect.guided(guess, denoised)
    return denoised, guess.positive if guess.negative is None else guess.negative


def classifier_free(guess: Guess) -> Tensor:
    """Away from the negative estimate by `cfg`."""
    if guess.negative is None:
        return guess.positive
    return guess.negative + (guess.positive - guess.negative) * guess.cfg


def _asked(predictor: Predictor, positive: Conditioning, *others: Conditioning) -> list[Asked]:
    """Each conditioning, ready to be predicted under: the positive first, the negative last."""
    lists = [prepare(each, predictor.levels, predictor.around.latent) for each in (positive, *others)]
    share_areas(lists)
    for other in lists[1:]:
        share_controls(lists[0], other)
    return [Asked(_side(i, len(lists)), predictor.show(conds, negative=i > 0)) for i, conds in enumerate(lists)]


def _side(i: int, lists: int) -> Side:
    if i == 0:
        return "positive"
    return "negative" if i == lists - 1 else "other"
