"""What an option of a model recipe may do while the model is sampled."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from graphexec.diffusion.models.taps import Tap
from graphexec.diffusion.sampling.discrete import ModelSampling
from graphexec.diffusion.types import Conditioning

__all__ = ["Effect", "Evaluate", "Guess", "Pass", "Predict", "Setting", "Side"]

Side = Literal["positive", "negative", "other"]

Predict = Callable[[Tensor], Tensor]
"""From latents [B, C, h, w] to what is made of them."""

Evaluate = Callable[[Side | Conditioning, Tensor, Sequence[Tap]], Tensor]
"""The noiseless latent that the model estimates from other latents, for one side or under a conditioning, with taps."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known when a run begins; `channels` are those after the UNet's first convolution."""

    levels: ModelSampling
    sigmas: Sequence[float]
    channels: int
    seed: int


@dataclass(frozen=True, slots=True)
class Pass:
    """A forward pass: the noise level, which side each equal part of its batch belongs to, and which cond it is."""

    sigma: float
    rows: Sequence[Side]
    conds: tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Guess:
    """The model's estimates of the noiseless latent from `x` at `sigma`: for the prompt, and for the negative one.

    `negative` is None where guidance needs none (cfg 1).
    """

    x: Tensor
    sigma: float
    cfg: float
    positive: Tensor
    negative: Tensor | None
    evaluate: Evaluate


class Effect:
    """Changes nothing; an option's effect overrides what it is about. It lives as long as one sampling run."""

    needs_negative = False
    """Whether the negative estimate is needed even where cfg is 1."""

    def tap(self, forward: Pass) -> Tap | None:
        """A look into a forward pass."""
        return None

    def network(self, x: Tensor, forward: Pass, predict: Predict) -> Tensor:
        """The network's output for its scaled input x, by `predict` or without it."""
        return predict(x)

    def guesses(self, guess: Guess) -> Guess:
        """The two estimates, before they are combined."""
        return guess

    def combine(self, guess: Guess) -> Tensor | None:
        """The guided estimate; None leaves it to classifier-free guidance."""
        return None

    def guided(self, guess: Guess, denoised: Tensor) -> Tensor:
        """The estimate after it was combined."""
        return denoised

    def denoise(self, x: Tensor, sigma: float, predict: Predict) -> Tensor:
        """The guided estimate from x, by `predict` or without it."""
        return predict(x)

    def mask(self, mask: Tensor, sigma: float) -> Tensor:
        """The mask of what may change, at a noise level."""
        return mask
