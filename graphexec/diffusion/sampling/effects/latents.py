"""Options that work on the estimates as latents."""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphexec.diffusion.latents.operations import operated
from graphexec.diffusion.options import OperateOnGuidance
from graphexec.diffusion.sampling.effects.base import Effect, Guess, Setting

__all__ = ["Operated"]


@dataclass(frozen=True, slots=True)
class Operated(Effect):
    """An operation on what guidance adds to the negative estimate; on the positive one where there is no other."""

    option: OperateOnGuidance
    setting: Setting

    def guesses(self, guess: Guess) -> Guess:
        """The estimates with the positive one changed."""
        if guess.negative is None:
            return replace(guess, positive=operated(guess.positive, self.option.operation))
        led = operated(guess.positive - guess.negative, self.option.operation)
        return replace(guess, positive=led + guess.negative)
