"""Deep shrink: a smaller feature map inside, so that a large picture is composed like a small one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from graphexec.diffusion.imaging.resize import upscale
from graphexec.diffusion.models.taps import Place, Tap
from graphexec.diffusion.options import DeepShrink
from graphexec.diffusion.sampling.effects.base import Effect, Pass, Setting

__all__ = ["Shrunk"]


@dataclass(frozen=True, slots=True)
class Shrunk(Effect, Tap):
    """From one input block on, the feature map is smaller, until it meets a skip connection of another size."""

    option: DeepShrink
    setting: Setting

    def tap(self, forward: Pass) -> Tap | None:
        """Only inside its part of the sampling range."""
        start, end = (self.setting.levels.percent_to_sigma(p) for p in (self.option.start, self.option.end))
        return self if end <= forward.sigma <= start else None

    def input_block(self, h: Tensor, at: Place) -> Tensor:
        """Shrink before the skip connection."""
        return h if self.option.after_skip else self._shrunk(h, at)

    def after_skip(self, h: Tensor, at: Place) -> Tensor:
        """Shrink after the skip connection."""
        return self._shrunk(h, at) if self.option.after_skip else h

    def join(self, h: Tensor, skip: Tensor, at: Place) -> tuple[Tensor, Tensor]:
        """Back to the size of the skip connection."""
        if h.shape[-2:] == skip.shape[-2:]:
            return h, skip
        return upscale(h, skip.shape[-1], skip.shape[-2], self.option.upscale_method, "disabled"), skip

    def _shrunk(self, h: Tensor, at: Place) -> Tensor:
        if at.block != self.option.block:
            return h
        rows, columns = (max(1, round(side / self.option.factor)) for side in h.shape[-2:])
        return upscale(h, columns, rows, self.option.downscale_method, "disabled")
