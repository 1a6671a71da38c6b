"""The batches of each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from graphexec.train.data.ahead import ahead
from graphexec.train.data.batch import Batch
from graphexec.train.data.latents import Encode, KeptLatents, Latents, encoded
from graphexec.train.data.order import Use, epoch_order
from graphexec.train.data.pictures import Data, Picture
from graphexec.train.data.pixels import Seen, seen
from graphexec.train.data.seeds import generator
from graphexec.train.data.views import View, drawn_view, plain_view, refuse_caching, size_condition
from graphexec.train.data.wording import Moment, caption

__all__ = ["Batches"]

Shown = tuple[Picture, View]


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
        made = self._latents([self._shown(use, epoch) for use in uses] for uses in order[first:])
        for place, (uses, (shown, latents)) in enumerate(zip(order[first:], made, strict=True), first):
            step = epoch * steps_per_epoch + place // self._accumulation
            yield self._batch(uses, shown, latents, Moment(epoch, step, self._steps))

    def _batch(self, uses: Sequence[Use], shown: Sequence[Shown], latents: Latents, moment: Moment) -> Batch:
        pictures = [picture for picture, _ in shown]
        weights = [self._prior if picture.subset.is_reg else 1.0 for picture in pictures]
        return Batch(
            latents["latents"],
            tuple(self._caption(use, picture, moment) for use, picture in zip(uses, pictures, strict=True)),
            torch.tensor(weights, dtype=torch.float32),
            latents.get("masks"),
            torch.tensor([size_condition(*each) for each in shown], dtype=torch.int64),
            tuple(str(picture.path) for picture in pictures),
        )

    def _shown(self, use: Use, epoch: int) -> Shown:
        picture = self._data.pictures[use.picture]
        return picture, drawn_view(picture, generator(self._seed, epoch, use.picture, use.repeat, "view"))

    def _caption(self, use: Use, picture: Picture, moment: Moment) -> str:
        draw = generator(self._seed, moment.epoch, use.picture, use.repeat, "caption")
        return caption(picture.text, picture.subset.captions, moment, draw)

    def _latents(self, batches: Iterable[Sequence[Shown]]) -> Iterator[tuple[Sequence[Shown], Latents]]:
        """Batches with their latents; pictures that are not kept are read while the batch before is in use."""
        if self.kept is not None:
            for shown in batches:
                yield shown, _joined([self.kept.get(picture, view, self._encode) for picture, view in shown])
            return
        for shown, every in ahead(_read, batches):
            yield shown, encoded([picture for picture, _ in shown], every, self._encode)


def _read(shown: Sequence[Shown]) -> tuple[Sequence[Shown], list[Seen]]:
    return shown, [seen(picture, view) for picture, view in shown]


def _joined(each: Sequence[Latents]) -> Latents:
    latents = torch.cat([one["latents"] for one in each])
    if all("masks" not in one for one in each):
        return {"latents": latents}
    return {"latents": latents, "masks": torch.cat([_mask(one) for one in each])}


def _mask(one: Latents) -> Tensor:
    return one["masks"] if "masks" in one else torch.ones_like(one["latents"][:, :1])
