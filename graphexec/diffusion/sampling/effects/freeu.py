"""FreeU (Si et al. 2023, https://arxiv.org/abs/2309.11497): weighs a UNet's backbone against its skip connections."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphexec.diffusion.models.taps import Place, Tap
from graphexec.diffusion.options import FreeU
from graphexec.diffusion.sampling.effects.base import Effect, Pass, Setting
from graphexec.diffusion.sampling.effects.frequencies import scale_frequencies

__all__ = ["Backbone"]


@dataclass(frozen=True, slots=True)
class Backbone(Effect, Tap):
    """Half of the channels of the two deepest widths are raised, low frequencies of their skip connections lowered."""

    option: FreeU
    setting: Setting

    def tap(self, forward: Pass) -> Tap | None:
        """Every pass alike."""
        return self

    def join(self, h: Tensor, skip: Tensor, at: Place) -> tuple[Tensor, Tensor]:
        """Weigh both, if they are of one of the widths."""
        option = self.option
        widths = {self.setting.channels * 4: (option.b1, option.s1), self.setting.channels * 2: (option.b2, option.s2)}
        if h.shape[1] not in widths:
            return h, skip
        backbone, low = widths[h.shape[1]]
        half = h.shape[1] // 2
        raised = h[:, :half] * (_by_structure(h, backbone) if option.by_structure else backbone)
        return torch.cat([raised, h[:, half:]], dim=1), scale_frequencies(skip, low=low, high=1.0, cutoff=1)


def _by_structure(h: Tensor, factor: float) -> Tensor:
    """The factor [B, 1, h, w] where the mean over channels is highest, 1 where it is lowest (version 2).

    A map without structure, such as a single token, is left alone, where a division by zero would make NaN.
    """
    mean = h.mean(1, keepdim=True)
    low, high = mean.amin(dim=(2, 3), keepdim=True), mean.amax(dim=(2, 3), keepdim=True)
    spread = torch.where(high > low, high - low, torch.ones_like(high))
    return (factor - 1.0) * ((mean - low) / spread) + 1.0
