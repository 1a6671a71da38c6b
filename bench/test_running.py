"""What running costs beside the nodes' own work, and dask over the same graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import graphs
import pytest
import trivial
from pytest_benchmark.fixture import BenchmarkFixture

import graphexec

REGISTRY = graphexec.Registry().with_nodes(trivial)
FOLDERS = graphexec.Folders.from_roots()
SIZES = [100, 1000, 10_000]
SHAPES = {"chain": (graphs.chain, graphs.dask_chain), "halves": (graphs.halves, graphs.dask_halves)}


def plan_of(shape: str, nodes: int, targets: Sequence[str] = ()) -> graphexec.Plan:
    workflow = SHAPES[shape][0](nodes)
    return graphexec.compile(workflow, registry=REGISTRY, folders=FOLDERS, targets=targets or [str(nodes - 1)])


@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_run(benchmark: BenchmarkFixture, shape: str, nodes: int) -> None:
    """Without a cache."""
    plan = plan_of(shape, nodes)
    result = benchmark(graphexec.run, plan, graphexec.Context())
    assert len(result.executed) == nodes


@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("scheduler", ["synchronous", "threaded"])
@pytest.mark.parametrize("shape", SHAPES)
def test_dask(benchmark: BenchmarkFixture, shape: str, scheduler: str, nodes: int) -> None:
    """The peer. Its graph is converted beforehand, as graphexec's is compiled."""
    graph, get = dask_graph(shape, nodes), dask_get(scheduler)
    benchmark(get, graph, str(nodes - 1))


def dask_graph(shape: str, nodes: int) -> graphs.Json:
    specs = pytest.importorskip("dask._task_spec")
    return specs.convert_legacy_graph(SHAPES[shape][1](nodes))


def dask_get(scheduler: str) -> Callable[..., int]:
    name = "dask.local" if scheduler == "synchronous" else "dask.threaded"
    module = pytest.importorskip(name)
    return module.get_sync if scheduler == "synchronous" else module.get


@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("wanted", ["last", "all"])
def test_rerun(benchmark: BenchmarkFixture, wanted: str, nodes: int) -> None:
    """Everything is in the memory cache; the last node is asked for, or all of them."""
    targets = [str(place) for place in range(nodes)] if wanted == "all" else []
    plan = plan_of("chain", nodes, targets)
    context = graphexec.Context(cache=graphexec.MemoryCache(2**30))
    graphexec.run(plan, context)
    result = benchmark(graphexec.run, plan, context)
    assert (result.executed, len(result.cached)) == ((), nodes)
