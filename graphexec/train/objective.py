"""The loss of a diffusion model on a batch of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from graphexec.train.config import Noise, Objective
from graphexec.train.data.batch import Batch
from graphexec.train.loss import picture_losses
from graphexec.train.models import BaseModel
from graphexec.train.noise import Levels, Noised, draw_noised, target_of
from graphexec.train.texts import Embed, vector_of

__all__ = ["DiffusionLoss"]


@dataclass(frozen=True, slots=True, eq=False)
class DiffusionLoss:
    """How badly a model tells noise from pictures. `begin` is told of each batch by a number of its own."""

    base: BaseModel
    embed: Embed
    noise: Noise
    objective: Objective
    levels: Levels
    begin: Callable[[int], object] = lambda number: None

    def __call__(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss of each picture, float32 [B]; all that is drawn comes from the generator."""
        self.begin(generator.initial_seed())
        latents = self.base.take(batch.latents)
        noised = draw_noised(latents, self.noise, self.levels, generator)
        return self.of(batch, latents, noised)

    def of(self, batch: Batch, latents: Tensor, noised: Noised) -> Tensor:
        """The loss of each picture with given noise; `latents` are the batch's, on the device."""
        mask = batch.masks if self.objective.masked else None
        return picture_losses(
            self._predicted(batch, noised),
            target_of(self.base.target, latents, noised, self.levels),
            noised.timesteps,
            self.objective,
            self.levels,
            kind=self.base.target,
            weights=self.base.take(batch.weights),
            mask=None if mask is None else self.base.take(mask),
        )

    def _predicted(self, batch: Batch, noised: Noised) -> Tensor:
        told, dtype = self.embed(batch.captions), self.base.dtype
        vector = None
        if self.base.unet.layout.vector_width is not None:
            vector = vector_of(told.pooled.to(dtype), self.base.take(batch.sizes))
        return self.base.unet(noised.noisy.to(dtype), noised.timesteps, told.context.to(dtype), vector)
