"""A training set as it was found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graphexec.train.config import Dataset, Subset
from graphexec.train.data.buckets import Fit, Size

__all__ = ["Data", "Picture"]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture; sizes are width and height, `text` is what its caption is made of."""

    path: Path
    text: str
    original: Size
    fit: Fit
    repeats: int
    subset: Subset
    dataset: int
    """Which of `Data.datasets` it belongs to: pictures of different datasets do not meet in a batch."""


@dataclass(frozen=True, slots=True)
class Data:
    """A training set; a picture's number is its place in `pictures`."""

    pictures: tuple[Picture, ...]
    datasets: tuple[Dataset, ...]
    warnings: tuple[str, ...] = ()
    validation: Data | None = None
    """Pictures that are held out, each once, without augmentation and with their captions as they are."""

    @property
    def buckets(self) -> Mapping[Size, int]:
        """How often each size is trained in an epoch, repeats counted."""
        count = Counter[Size]()
        for picture in self.pictures:
            count[picture.fit.bucket] += picture.repeats
        return dict(sorted(count.items()))

    @property
    def batches_per_epoch(self) -> int:
        """Every bucket's last batch may be smaller than the others."""
        return sum(math.ceil(n / self.datasets[dataset].batch_size) for (dataset, _), n in self._uses().items())

    @property
    def largest_batch(self) -> tuple[Size, int]:
        """The size and the number of the pictures that are the most pixels in one batch."""
        batches = [(size, min(n, self.datasets[dataset].batch_size)) for (dataset, size), n in self._uses().items()]
        return max(batches, key=lambda batch: math.prod(batch[0]) * batch[1])

    def _uses(self) -> Counter[tuple[int, Size]]:
        """How often pictures that may meet in a batch are trained in an epoch: those of a dataset and a size."""
        count = Counter[tuple[int, Size]]()
        for picture in self.pictures:
            count[picture.dataset, picture.fit.bucket] += picture.repeats
        return count
