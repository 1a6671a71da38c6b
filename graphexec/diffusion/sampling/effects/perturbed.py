"""Guidance away from what the model makes of a spoilt input: perturbed attention, blurred pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.models.taps import AttentionKind, Place, Tap
from graphexec.diffusion.options import PerturbedAttention, SelfAttention
from graphexec.diffusion.sampling.effects.base import Effect, Guess, Pass, Setting

__all__ = ["Blurred", "Perturbed"]

BLUR_SIZE = 9
THRESHOLD = 1.0
"""Tokens that get more attention than so much, which is the mean, are blurred."""


@dataclass(frozen=True, slots=True)
class Perturbed(Effect, Tap):
    """Away from what the model makes of the prompt when its middle block attends to nothing but each token itself.

    Ahn et al. 2024, https://arxiv.org/abs/2403.17377.
    """

    option: PerturbedAttention
    setting: Setting

    def guided(self, guess: Guess, denoised: Tensor) -> Tensor:
        """Further away from the perturbed estimate."""
        if self.option.scale == 0:
            return denoised
        return denoised + (guess.positive - guess.evaluate("positive", guess.x, [self])) * self.option.scale

    def attend(self, kind: AttentionKind, q: Tensor, k: Tensor, v: Tensor, heads: int, at: Place) -> Tensor | None:
        """Each token's own value."""
        return v if kind == "self" and at.part == "middle" else None


class Blurred(Effect):
    """Away from what the model makes of the negative estimate, blurred where it attends most.

    Hong et al. 2023, https://arxiv.org/abs/2210.00939.
    """

    needs_negative = True

    def __init__(self, option: SelfAttention, setting: Setting) -> None:
        self.option = option
        self._attention: Tensor | None = None

    def tap(self, forward: Pass) -> Tap | None:
        """Watch how the negative side attends."""
        if "negative" not in forward.rows:
            return None
        return _Watch(self, forward.rows.index("negative"), len(forward.rows))

    def remember(self, attention: Tensor) -> None:
        """How much attention each token gets in the middle block: [B, h, w]."""
        self._attention = attention

    def guided(self, guess: Guess, denoised: Tensor) -> Tensor:
        """Further away from the estimate of the blurred latent; very small latents cannot be blurred."""
        if guess.negative is None or self._attention is None or min(denoised.shape[-2:]) <= BLUR_SIZE // 2:
            return denoised
        where = F.interpolate((self._attention > THRESHOLD).to(guess.x)[:, None], guess.x.shape[-2:])
        spoilt = blur(guess.negative, self.option.blur_sigma) * where + guess.negative * (1 - where)
        again = guess.evaluate("negative", spoilt + guess.x - guess.negative, [])
        return denoised + (spoilt - again) * self.option.scale


@dataclass(frozen=True, slots=True)
class _Watch(Tap):
    owner: Blurred
    row: int
    rows: int

    def attend(self, kind: AttentionKind, q: Tensor, k: Tensor, v: Tensor, heads: int, at: Place) -> Tensor | None:
        """Only looks: the mean over heads of how much each token gets from all others."""
        if kind == "self" and at.part == "middle" and at.index == 0:
            if q.shape[1] != math.prod(at.size):
                raise LatentError(
                    "SelfAttentionGuidance looks at the attention of the middle block as a whole, and HyperTile cuts it"
                    " into tiles there: lower max_depth of HyperTile, or leave one of them out"
                )
            q, k = (t.chunk(self.rows)[self.row].unflatten(-1, (heads, -1)).transpose(1, 2).float() for t in (q, k))
            scores = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
            self.owner.remember(scores.mean(1).sum(1).unflatten(-1, at.size))
        return None


def blur(x: Tensor, sigma: float) -> Tensor:
    """x [B, C, h, w] under a Gaussian of `sigma` cells, mirrored at its edges."""
    if sigma == 0:
        return x
    places = torch.arange(BLUR_SIZE, device=x.device) - BLUR_SIZE // 2
    line = (-0.5 * (places / sigma) ** 2).exp()
    line = (line / line.sum()).to(x)
    kernel = (line[:, None] * line[None, :]).expand(x.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(x, [BLUR_SIZE // 2] * 4, mode="reflect"), kernel, groups=x.shape[1])
