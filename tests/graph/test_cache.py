from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from graphexec.graph.cache import Cache, MemoryCache, NullCache, TieredCache, nbytes
from graphexec.graph.store import DiskStore


class Tensor:
    """Looks like one to whoever asks for its size."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes


@dataclass(frozen=True, slots=True)
class Latent:
    samples: Any
    mask: Any = None


def outputs(number: int, size: int = 1000) -> tuple[list[Any], ...]:
    return ([number, Tensor(size)],)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def held(cache: Cache, numbers: range) -> list[int]:
    return [number for number in numbers if cache.contains(key(number))]


def elsewhere(call: Callable[[], Any]) -> Any:
    """What a call on another thread returns; TimeoutError if it has to wait for this one."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(call).result(timeout=60)
    finally:
        pool.shutdown(wait=False)


def test_sizes_count_what_is_referred_to_once() -> None:
    tensor = Tensor(10_000)
    alone = nbytes(tensor)
    assert alone >= 10_000
    for value in ([tensor, tensor], (Latent(tensor, tensor),), {"a": tensor, "b": [tensor]}, {tensor}):
        assert alone < nbytes(value) < alone + 1000
    assert nbytes(b"x" * 5000) == sys.getsizeof(b"x" * 5000)
    assert nbytes([Tensor(5), Tensor(5)]) > nbytes([Tensor(5)])


class Plain:
    """A class of some pack's own."""

    def __init__(self, held: Any) -> None:
        self.held = held


class Slotted(Plain):
    """Keeps some of it elsewhere."""

    __slots__ = ("more",)

    def __init__(self, held: Any, more: Any) -> None:
        super().__init__(held)
        self.more = more


def test_sizes_count_what_objects_of_any_class_hold() -> None:
    tensor = Tensor(10_000)
    for value in (Plain(tensor), Plain([Plain({"a": tensor})]), Slotted(None, tensor), Slotted(tensor, tensor)):
        assert 10_000 < nbytes(value) < 11_000
    assert nbytes(Slotted(Tensor(10_000), tensor)) > 20_000
    assert 10_000 < nbytes([Mock(held=tensor), Plain(tensor).__init__, threading.Lock()]) < 50_000
    looping = Plain(tensor)
    looping.held = [looping, tensor, Plain, sys, nbytes]
    assert 10_000 < nbytes(looping) < 20_000


class TestViews:
    @pytest.fixture(params=["torch", "numpy", "numpy of torch"])
    def whole(self, request: pytest.FixtureRequest) -> Any:
        """20 rows of 1000 bytes that may be sliced."""
        torch, numpy = pytest.importorskip("torch"), pytest.importorskip("numpy")
        make = {
            "torch": lambda: torch.zeros(20, 250),
            "numpy": lambda: numpy.zeros((20, 250), "f4"),
            "numpy of torch": lambda: torch.zeros(20, 250).numpy(),
        }
        return make[request.param]()

    def test_count_as_the_whole_that_they_keep_alive(self, whole: Any) -> None:
        for value in (whole, whole[:1], whole[3:5][:1], [whole, whole[0]], [whole[0], whole[1]]):
            assert 20_000 < nbytes(value) < 21_000

    def test_of_other_memory_count_beside_it(self, whole: Any) -> None:
        assert 23_000 < nbytes([whole[:1], whole[:3] + 1]) < 24_000

    def test_that_repeat_it_take_no_more(self) -> None:
        torch = pytest.importorskip("torch")
        assert nbytes(torch.zeros(1).expand(10_000)) < 1000


def test_sizes_of_deep_and_looping_values() -> None:
    value: list[Any] = []
    value.append(value)
    for _ in range(100_000):
        value = [value]
    assert nbytes(value) > 100_000 * sys.getsizeof([None]) * 0.9


def test_the_least_recently_used_is_forgotten() -> None:
    cache = MemoryCache(5 * nbytes(outputs(0)))
    for number in range(5):
        cache.put(key(number), outputs(number))
    assert held(cache, range(5)) == [0, 1, 2, 3, 4]
    assert cache.get(key(0)) is not None
    cache.contains(key(1))
    for number in (5, 6):
        cache.put(key(number), outputs(number))
    assert held(cache, range(7)) == [0, 3, 4, 5, 6]
    assert cache.bytes <= cache.max_bytes


def test_what_is_larger_than_the_cache_is_not_kept_and_moves_nothing() -> None:
    cache = MemoryCache(5000)
    cache.put(key(1), outputs(1))
    cache.put(key(2), outputs(2, size=6000))
    assert held(cache, range(3)) == [1]
    cache.put(key(1), outputs(1, size=6000))
    assert (held(cache, range(3)), cache.bytes) == ([], 0)


def test_what_cannot_be_measured_is_not_kept() -> None:
    class Gone:
        @property
        def nbytes(self) -> int:
            raise RuntimeError("its memory is freed")

    cache = MemoryCache(10_000)
    cache.put(key(1), outputs(1))
    cache.put(key(1), ([Gone()],))
    assert cache.get(key(1)) is None
    assert cache.bytes == 0


def test_what_a_reader_uses_up_is_not_kept(tmp_path: Path) -> None:
    cache = MemoryCache(10_000)
    with (tmp_path / "file").open("w") as file:
        for number, value in enumerate([(i for i in range(3)), iter([1]), file]):
            cache.put(key(number), ([value],))
    cache.put(key(3), ([range(3)],))
    assert held(cache, range(4)) == [3]


def test_a_result_is_replaced() -> None:
    cache = MemoryCache(100_000)
    cache.put(key(1), outputs(1, size=9000))
    cache.put(key(1), outputs(2))
    found = cache.get(key(1))
    assert found is not None
    assert found[0][0] == 2
    assert cache.bytes == nbytes(found)


class TestWhatRefersToFiles:
    @dataclass(frozen=True)
    class File:
        path: Path

        def is_current(self) -> bool:
            if self.path.is_dir():
                raise OSError("a folder")
            return self.path.exists()

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "weights"
        path.write_bytes(b"x")
        return path

    @pytest.fixture
    def cache(self, path: Path) -> MemoryCache:
        cache = MemoryCache(100_000)
        cache.put(key(1), ([Latent((self.File(path),))],))
        cache.put(key(2), outputs(2))
        return cache

    def test_is_kept_as_long_as_they_are_as_they_were(self, cache: MemoryCache) -> None:
        assert cache.get(key(1)) is not None

    def test_is_forgotten_when_they_are_not(self, cache: MemoryCache, path: Path) -> None:
        path.unlink()
        assert (cache.get(key(1)), held(cache, range(3))) == (None, [2])
        assert cache.bytes == nbytes(cache.get(key(2)))

    def test_is_forgotten_when_it_cannot_be_told(self, cache: MemoryCache, path: Path) -> None:
        path.unlink()
        path.mkdir()
        assert cache.get(key(1)) is None

    def test_are_looked_at_while_others_use_the_cache(self, cache: MemoryCache) -> None:
        class Slow:
            def is_current(self) -> bool:
                return elsewhere(lambda: cache.get(key(2))) is not None

        cache.put(key(3), ([Slow()],))
        assert cache.get(key(3)) is not None

    def test_what_is_put_anew_meanwhile_is_not_forgotten(self, cache: MemoryCache) -> None:
        class Outdated:
            def is_current(self) -> bool:
                elsewhere(lambda: cache.put(key(3), outputs(3)))
                return False

        cache.put(key(3), ([Outdated()],))
        assert cache.get(key(3)) is None
        assert cache.get(key(3)) is not None


def test_threads_share_a_memory_cache() -> None:
    cache = MemoryCache(20 * nbytes(outputs(0)))

    def work(seed: int) -> None:
        for step in range(300):
            number = (seed * 7 + step) % 40
            cache.put(key(number), outputs(number))
            found = cache.get(key(number))
            assert found is None or found[0][0] == number

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert cache.bytes == sum(nbytes(cache.get(key(number))) for number in held(cache, range(40))) <= cache.max_bytes


def test_the_null_cache_keeps_nothing() -> None:
    cache = NullCache()
    cache.put(key(1), outputs(1))
    assert cache.get(key(1)) is None
    assert not cache.contains(key(1))


@pytest.mark.parametrize("tiers", ["memory", "disk", "both", "none"])
def test_tiers(tmp_path: Path, tiers: str) -> None:
    memory = MemoryCache(10_000) if tiers in ("memory", "both") else None
    disk = DiskStore(tmp_path / "cache") if tiers in ("disk", "both") else None
    cache: Cache = TieredCache(memory, disk)
    assert (cache.get(key(1)), cache.contains(key(1))) == (None, False)
    cache.put(key(1), (["value"],))
    found = (["value"],) if tiers != "none" else None
    assert (cache.get(key(1)), cache.contains(key(1))) == (found, tiers != "none")


def test_what_the_disk_had_is_in_memory_from_then_on(tmp_path: Path) -> None:
    disk = DiskStore(tmp_path / "cache")
    disk.put(key(1), (["value"],))
    memory = MemoryCache(10_000)
    cache = TieredCache(memory, disk)
    assert cache.contains(key(1))
    assert not memory.contains(key(1))
    first = cache.get(key(1))
    disk.clear()
    assert first == (["value"],)
    assert cache.get(key(1)) is first


def test_what_has_no_bytes_lives_in_memory_only(tmp_path: Path) -> None:
    disk = DiskStore(tmp_path / "cache")
    cache = TieredCache(MemoryCache(10_000), disk)
    value = ([object()],)
    cache.put(key(1), value)
    assert cache.get(key(1)) is value
    assert not disk.contains(key(1))
