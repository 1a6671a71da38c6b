from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from graphexec.train.config import Dataset, Subset
from graphexec.train.data.buckets import Fit
from graphexec.train.data.order import Use, epoch_order
from graphexec.train.data.pictures import Data, Picture

BUCKETS = [(64, 64), (128, 64), (64, 128)]


@st.composite
def sets(draw: st.DrawFn) -> Data:
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    pictures: list[Picture] = []
    for number in range(draw(st.integers(1, 12))):
        place = Fit(draw(st.sampled_from(BUCKETS)), (128, 128))
        dataset = draw(st.integers(0, len(sizes) - 1))
        picture = Picture(
            Path(f"{number}.png"), "", (9, 9), place, draw(st.integers(1, 3)), Subset(None), dataset
        )  # fmt: skip
        pictures.append(picture)
    return Data(tuple(pictures), tuple(Dataset((), batch_size=size) for size in sizes))


@given(sets(), st.integers(), st.integers(0, 5))
def test_batches_hold_every_repeat_once_and_never_mix(data: Data, seed: int, epoch: int) -> None:
    batches = epoch_order(data, seed, epoch)
    wanted = Counter(Use(n, repeat) for n, picture in enumerate(data.pictures) for repeat in range(picture.repeats))
    assert Counter(use for batch in batches for use in batch) == wanted
    assert len(batches) == data.batches_per_epoch
    for batch in batches:
        kinds = {(data.pictures[use.picture].dataset, data.pictures[use.picture].fit.bucket) for use in batch}
        assert len(kinds) == 1
        assert len(batch) <= data.datasets[kinds.pop()[0]].batch_size


@given(sets(), st.integers(), st.integers(0, 5))
def test_the_order_depends_on_seed_and_epoch_alone(data: Data, seed: int, epoch: int) -> None:
    assert epoch_order(data, seed, epoch) == epoch_order(data, seed, epoch)


def test_epochs_and_seeds_differ() -> None:
    pictures = tuple(
        Picture(Path(f"{n}.png"), "", (9, 9), Fit((64, 64), (64, 64)), 1, Subset(None), 0) for n in range(30)
    )
    data = Data(pictures, (Dataset((), batch_size=4),))
    first = epoch_order(data, 1, 0)
    assert first != epoch_order(data, 1, 1)
    assert first != epoch_order(data, 2, 0)
