"""Which pictures meet in which batch of an epoch."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from graphexec.train.data.buckets import Size
from graphexec.train.data.pictures import Data
from graphexec.train.data.seeds import generator

__all__ = ["Use", "epoch_order"]


@dataclass(frozen=True, slots=True)
class Use:
    """The use of a picture, by its number, in an epoch: the first repeat is 0."""

    picture: int
    repeat: int


def epoch_order(data: Data, seed: int, epoch: int) -> list[tuple[Use, ...]]:
    """The batches of an epoch, the same whenever they are asked for.

    Every repeat of every picture is in one of them. Buckets and datasets do not mix, so that the last batch of each may
    be smaller; batches of all buckets come in random order.
    """
    groups = defaultdict[tuple[int, Size], list[Use]](list)
    for number, picture in enumerate(data.pictures):
        group = groups[picture.dataset, picture.fit.bucket]
        group += [Use(number, repeat) for repeat in range(picture.repeats)]
    draw = generator(seed, epoch, "order")
    batches: list[tuple[Use, ...]] = []
    for (dataset, _), uses in sorted(groups.items()):
        draw.shuffle(uses)
        size = data.datasets[dataset].batch_size
        batches += [tuple(uses[at : at + size]) for at in range(0, len(uses), size)]
    draw.shuffle(batches)
    return batches
