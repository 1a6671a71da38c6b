"""The batches of each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from graphexec.train.data.batch import Batch
from graphexec.train.data.latents import Encode, KeptLatents, Latents, encoded
from graphexec.train.data.order import Use, epoch_order
from graphexec.train.data.pictures import Data, Picture
from graphexec.train.data.seeds import generator
from graphexec.train.data.views import View, drawn_view, plain_view, refuse_caching, size_condition
from graphexec.train.data.wording import Moment, caption

__all__ = ["Batches"]


class Batches:
    """The batches of a training set, each of which depends on seed, epoch and place alone.

    `encode` makes latents of pixels; with `kept` it is called once for each picture (twice if it is flipped).
    `steps` is how many steps the optimiser takes in all and `accumulation` over how many batches each goes (the last
    of an epoch over what is left), by which the warm-up of tags is reckoned. Raises `DataError` if latents are to be
    kept of pictures that change.
    """

    def __init__(
        self,
        data: Data,
        encode: Encode,
        seed: int,
        *,
        prior_loss_weight: float = 1.0,
        steps: int = 0,
        accumulation: int = 1,
        kept: KeptLatents | None = None,
    ) -> None:
        if kept is not None:
            refuse_caching(data)
        self._data = data
        self._encode = encode
        self._seed = seed
        self._prior = prior_loss_weight
        self._steps = steps
        self._accumulation = accumulation
        self.kept = kept

    def fill(self, watch: Callable[[int, int], object] = lambda done, of: None) -> None:
        """Encode now whatever is to be kept, so that the VAE may go; `watch` is told how many pictures are done."""
        if self.kept is None:
            return
        pictures = self._data.pictures
        for done, picture in enumerate(pictures, 1):
            view = plain_view(picture)
            for flipped in (False, True) if picture.subset.augment.flip else (False,):
                self.kept.get(picture, View(view.left, view.top, flipped), self._encode)
            watch(done, len(pictures))

    def captions(self) -> list[str]:
        """What the pictures' captions are in the first epoch, and in every other if nothing about them varies."""
        moment = Moment(0, 0, self._steps)
        return [self._caption(Use(i, 0), picture, moment) for i, picture in enumerate(self._data.pictures)]

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch (the first epoch is 0) from batch `first` on: the same as the whole epoch's rest."""
        order = epoch_order(self._data, self._seed, epoch)
        steps_per_epoch = math.ceil(len(order) / self._accumulation)
        for place, uses in enumerate(order[first:], first):
            step = epoch * steps_per_epoch + place // self._accumulation
            yield self._batch(uses, Moment(epoch, step, self._steps))

    def _batch(self, uses: Sequence[Use], moment: Moment) -> Batch:
        pictures = [self._data.pictures[use.picture] for use in uses]
        views = [self._view(use, picture, moment.epoch) for use, picture in zip(uses, pictures, strict=True)]
        latents = self._latents(list(zip(pictures, views, strict=True)))
        weights = [self._prior if picture.subset.is_reg else 1.0 for picture in pictures]
        sizes = [size_condition(picture, view) for picture, view in zip(pictures, views, strict=True)]
        return Batch(
            latents["latents"],
            tuple(self._caption(use, picture, moment) for use, picture in zip(uses, pictures, strict=True)),
            torch.tensor(weights, dtype=torch.float32),
            latents.get("masks"),
            torch.tensor(sizes, dtype=torch.int64),
            tuple(str(picture.path) for picture in pictures),
        )

    def _view(self, use: Use, picture: Picture, epoch: int) -> View:
        return drawn_view(picture, generator(self._seed, epoch, use.picture, use.repeat, "view"))

    def _caption(self, use: Use, picture: Picture, moment: Moment) -> str:
        draw = generator(self._seed, moment.epoch, use.picture, use.repeat, "caption")
        return caption(picture.text, picture.subset.captions, moment, draw)

    def _latents(self, uses: list[tuple[Picture, View]]) -> Latents:
        if self.kept is None:
            return encoded(uses, self._encode)
        each = [self.kept.get(picture, view, self._encode) for picture, view in uses]
        latents = torch.cat([one["latents"] for one in each])
        if all("masks" not in one for one in each):
            return {"latents": latents}
        return {"latents": latents, "masks": torch.cat([_mask(one) for one in each])}


def _mask(one: Latents) -> Tensor:
    return one["masks"] if "masks" in one else torch.ones_like(one["latents"][:, :1])
