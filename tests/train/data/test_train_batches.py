# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from queue import Queue

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from train.data.sets import captioned, picture

from graphexec.diffusion.faults import NonFiniteError
from graphexec.errors import ModelFileError
from graphexec.train.config import Augment, Buckets, CaptionRules, Dataset, Subset
from graphexec.train.data import batches
from graphexec.train.data.batch import Batch
from graphexec.train.data.batches import Batches
from graphexec.train.data.cache import FileTensors, MemoryTensors
from graphexec.train.data.faults import DataError
from graphexec.train.data.find import find_pictures
from graphexec.train.data.latents import KeptLatents
from graphexec.train.data.pictures import Data, Picture
from graphexec.train.data.pixels import Seen, seen
from graphexec.train.data.views import View

RANDOM = CaptionRules(shuffle=True, tag_dropout_rate=0.2)


class Vae:
    """Means over cells; counts how many pictures it saw."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, pixels: Tensor) -> Tensor:
        self.seen += len(pixels)
        return F.avg_pool2d(torch.cat([pixels, pixels[:, :1]], 1), 8).to(torch.float64)


@pytest.fixture
def vae() -> Vae:
    return Vae()


@pytest.fixture
def subset(tmp_path: Path) -> Subset:
    for number in range(5):
        size = (96, 64) if number % 2 else (64, 96)
        captioned(tmp_path / "train" / f"{number}.png", f"{number}, a, b, c, d, e", size)
        image = picture(tmp_path / "train" / f"{number}.png", size, (10 * number, 100, 200))
        assert image.exists()
    return Subset(tmp_path / "train", 2, captions=RANDOM, augment=Augment(flip=True))


def data_of(*subsets: Subset) -> Data:
    return find_pictures([Dataset(subsets, (80, 80), 2, Buckets(64, 128, 8))])


def same(a: Batch, b: Batch) -> bool:
    tensors = torch.equal(a.latents, b.latents) and torch.equal(a.weights, b.weights) and torch.equal(a.sizes, b.sizes)
    return tensors and a.masks is b.masks is None and (a.captions, a.names) == (b.captions, b.names)


def test_a_batch(subset: Subset, vae: Vae) -> None:
    data = data_of(subset)
    batches = list(Batches(data, vae, 1).epoch(0))
    assert len(batches) == data.batches_per_epoch
    for batch in batches:
        size = len(batch.captions)
        height, width = batch.sizes[0, 4:].tolist()
        assert batch.latents.shape == (size, 4, height // 8, width // 8)
        assert batch.latents.dtype == torch.float32
        assert batch.weights.tolist() == [1.0] * size
        assert batch.masks is None
        assert batch.sizes.dtype == torch.int64
        for name, text, sizes in zip(batch.names, batch.captions, batch.sizes.tolist(), strict=True):
            assert Path(name).stem in text.split(", ") or len(text) < len("0, a, b, c, d, e")
            assert sizes[:2] in ([64, 96], [96, 64])
    assert sum(len(batch.names) for batch in batches) == 10


@pytest.mark.parametrize("keep", [False, True])
def test_going_on_gives_what_the_whole_epoch_gives(subset: Subset, vae: Vae, keep: bool) -> None:
    kept = KeptLatents(MemoryTensors(), "vae") if keep else None
    cropped = subset if keep else replace(subset, augment=Augment(flip=True, color=True, random_crop=True))
    data = data_of(cropped)
    whole = list(Batches(data, vae, 7, kept=kept).epoch(2))
    torch.rand(3)  # Global generators do not matter.
    for first in range(len(whole) + 1):
        rest = list(Batches(data, vae, 7).epoch(2, first))
        assert len(rest) == len(whole) - first
        assert all(same(a, b) for a, b in zip(rest, whole[first:], strict=True))


def test_pictures_are_read_while_the_batch_before_is_in_use(
    subset: Subset, vae: Vae, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Queue[str] = Queue()

    def watched(picture: Picture, view: View) -> Seen:
        read.put(str(picture.path))
        return seen(picture, view)

    monkeypatch.setattr(batches, "seen", watched)
    epoch = Batches(data_of(subset), vae, 1).epoch(0)
    names = list(next(epoch).names)
    ahead = [read.get(timeout=5) for _ in range(4)]
    assert (ahead[:2], read.empty()) == (names, True)
    assert list(next(epoch).names) == ahead[2:]


def test_a_picture_that_cannot_be_read_is_told_when_its_turn_comes(subset: Subset, vae: Vae) -> None:
    data = data_of(replace(subset, repeats=1))
    last = list(Batches(data, vae, 1).epoch(0))[-1].names
    for name in last:
        Path(name).write_bytes(b"no picture")
    found, epoch = [], Batches(data, vae, 1).epoch(0)
    with pytest.raises(ModelFileError, match="cannot be read as a picture"):
        found.extend(epoch)
    assert len(found) == data.batches_per_epoch - 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_nothing_is_read_any_more_when_an_epoch_is_left(subset: Subset, vae: Vae) -> None:
    epoch = Batches(data_of(subset), vae, 1).epoch(0)
    next(epoch)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
    del epoch
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_epochs_and_seeds_differ(subset: Subset, vae: Vae) -> None:
    data = data_of(subset)
    first = [batch.captions for batch in Batches(data, vae, 7).epoch(0)]
    assert [batch.captions for batch in Batches(data, vae, 7).epoch(1)] != first
    assert [batch.captions for batch in Batches(data, vae, 8).epoch(0)] != first


def test_repeats_differ_in_caption_and_view(subset: Subset, vae: Vae) -> None:
    one = replace(subset, repeats=20)
    batches = list(Batches(data_of(one), vae, 0).epoch(0))
    texts = {
        text for batch in batches for name, text in zip(batch.names, batch.captions, strict=True) if "0.png" in name
    }
    assert len(texts) > 10


def test_regularisation_weighs_what_it_is_told(subset: Subset, vae: Vae, tmp_path: Path) -> None:
    picture(tmp_path / "reg" / "r.png", (96, 64))
    data = data_of(subset, Subset(tmp_path / "reg", class_tokens="cat", is_reg=True))
    batches = Batches(data, vae, 0, prior_loss_weight=0.5).epoch(0)
    weights = {
        (Path(name).stem == "r", weight)
        for b in batches
        for name, weight in zip(b.names, b.weights.tolist(), strict=True)
    }
    assert weights == {(True, 0.5), (False, 1.0)}


def test_kept_latents_are_encoded_once_and_twice_if_flipped(subset: Subset, vae: Vae, tmp_path: Path) -> None:
    data = data_of(subset)
    plain = list(Batches(data, Vae(), 3).epoch(0))
    batches = Batches(data, vae, 3, kept=KeptLatents(FileTensors(tmp_path / "cache"), "vae"))
    told: list[tuple[int, int]] = []
    batches.fill(lambda done, of: told.append((done, of)))
    assert told == [(n, 5) for n in range(1, 6)]
    assert vae.seen == 10
    assert all(same(a, b) for a, b in zip(plain, batches.epoch(0), strict=True))
    assert vae.seen == 10
    again = Batches(data, vae, 3, kept=KeptLatents(FileTensors(tmp_path / "cache"), "vae"))
    again.fill()
    assert vae.seen == 10


def test_kept_latents_depend_on_content_and_vae(subset: Subset, vae: Vae, tmp_path: Path) -> None:
    store = FileTensors(tmp_path / "cache")
    one = replace(subset, augment=Augment())
    data = data_of(one)

    def encoded_again(name: str) -> int:
        before = vae.seen
        Batches(data, vae, 0, kept=KeptLatents(store, name)).fill()
        return vae.seen - before

    assert encoded_again("vae") == 5
    assert encoded_again("another") == 5
    picture(tmp_path / "train" / "0.png", (64, 96), (1, 2, 3))
    assert encoded_again("vae") == 1
    damaged = next((tmp_path / "cache").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:50])
    assert encoded_again("vae") + encoded_again("another") <= 2
    assert encoded_again("vae") == 0


def test_latents_of_changing_pictures_are_not_kept(subset: Subset, vae: Vae) -> None:
    changing = replace(subset, augment=Augment(color=True))
    with pytest.raises(DataError, match="cannot be cached"):
        Batches(data_of(changing), vae, 0, kept=KeptLatents(MemoryTensors(), "vae"))
    Batches(data_of(changing), vae, 0).fill()


@pytest.mark.parametrize("keep", [False, True])
def test_masks_have_the_latents_size_and_pictures_without_count_whole(tmp_path: Path, vae: Vae, keep: bool) -> None:
    picture(tmp_path / "masked" / "m.png", (64, 64), (9, 9, 9, 102))
    picture(tmp_path / "plain" / "p.png", (64, 64))
    subsets = Subset(tmp_path / "masked", 1, "x", alpha_mask=True), Subset(tmp_path / "plain", 1, "x")
    data = find_pictures([Dataset(subsets, (64, 64), 2)])
    kept = KeptLatents(MemoryTensors(), "vae") if keep else None
    (batch,) = Batches(data, vae, 0, kept=kept).epoch(0)
    assert batch.masks is not None
    assert batch.masks.shape == (2, 1, 8, 8)
    means = {Path(name).stem: float(mask.mean()) for name, mask in zip(batch.names, batch.masks, strict=True)}
    assert means == pytest.approx({"m": 0.4, "p": 1.0})


def test_latents_that_are_not_finite_name_the_picture(subset: Subset) -> None:
    def broken(pixels: Tensor) -> Tensor:
        return pixels[:, :1].expand(-1, 4, -1, -1) * float("nan")

    with pytest.raises(NonFiniteError, match=r"NaN or infinity for \d\.png.*no_half_vae"):
        next(Batches(data_of(subset), broken, 0).epoch(0))


def test_tags_warm_up_by_the_optimisers_steps(tmp_path: Path, vae: Vae) -> None:
    captioned(tmp_path / "a.png", "a, b, c, d, e", (64, 64))
    rules = CaptionRules(token_warmup_step=0.5)
    data = find_pictures([Dataset((Subset(tmp_path, 4, captions=rules),), (64, 64))])
    batches = Batches(data, vae, 0, steps=8, accumulation=2)
    lengths = [len(batch.captions[0].split(", ")) for epoch in range(3) for batch in batches.epoch(epoch)]
    assert lengths == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5]


def test_a_cache_that_cannot_be_read_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "key.safetensors").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        FileTensors(tmp_path).get("key")
