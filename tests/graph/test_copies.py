"""What a host does to its result in place is seen by nobody else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from running import Bench, Nodes

from graphexec.graph.cache import MemoryCache
from graphexec.graph.copies import copied


class Tensor:
    nbytes = 4

    def __init__(self, value: int) -> None:
        self.value = value

    def clone(self) -> Tensor:
        return Tensor(self.value)


@dataclass(frozen=True, slots=True)
class Latent:
    samples: Tensor
    sizes: dict[str, list[int]]


class Pair(NamedTuple):
    one: Tensor
    two: Tensor


def test_tensors_and_containers_are_copies_and_what_was_one_thing_stays_one() -> None:
    tensor = Tensor(1)
    value: list[Any] = [Latent(tensor, {"x": [1, 2]}), Pair(tensor, tensor), (tensor, "text")]
    latent, pair, plain = copied(value)
    latent.samples.value = 2
    latent.sizes["x"].append(3)
    assert pair.one is pair.two is plain[0] is latent.samples
    assert tensor.value == 1
    assert value[0].sizes == {"x": [1, 2]}


def test_what_holds_neither_is_shared() -> None:
    @dataclass(frozen=True)
    class Recipe:
        file: Path
        patches: tuple[str, ...]

    recipe = Recipe(Path("a"), ("b", "c"))
    assert copied([recipe])[0] is recipe


def test_what_cannot_be_copied_is_shared() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert copied(loop) is loop


def test_a_changed_result_leaves_the_cache_as_it_was() -> None:
    bench = Bench(cache=MemoryCache(2**20))
    nodes: Nodes = {"c": ("Crate", {"n": 2})}
    bench.run(nodes, ["c"]).value("c").apples.append(7)
    assert bench.run(nodes, ["c"]).value("c").apples == [0, 1]
