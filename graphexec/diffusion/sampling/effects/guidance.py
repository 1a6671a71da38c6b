"""Options about how the two estimates are combined."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from graphexec.diffusion.options import RescaleCfg
from graphexec.diffusion.sampling.effects.base import Effect, Guess, Setting

__all__ = ["Rescale"]


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
        whole = led * (positive.std(dim=(1, 2, 3), keepdim=True) / led.std(dim=(1, 2, 3), keepdim=True))
        v = whole * self.option.multiplier + led * (1 - self.option.multiplier)
        return scaled - v / root
