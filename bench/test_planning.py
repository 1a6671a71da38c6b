"""How long a workflow takes from its bytes to a plan."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import trivial
from pytest_benchmark.fixture import BenchmarkFixture

import graphexec

REGISTRY = graphexec.Registry.standard().with_nodes(trivial)
FOLDERS = graphexec.Folders.standard(environ={})


@pytest.mark.parametrize("nodes", [10_000, 100_000])
@pytest.mark.parametrize("shape", [trivial.chain, trivial.lora_chain])
def test_plan(benchmark: BenchmarkFixture, shape: Callable[[int], trivial.Json], nodes: int) -> None:
    """Reading, checking and planning, without a look at model files."""
    plan = planned(benchmark, shape, nodes, check_files=False)
    assert len(plan.nodes) == nodes


def test_plan_with_files(benchmark: BenchmarkFixture) -> None:
    """As above, and each LoRA's file is found, read and compared with the checkpoint's."""
    planned(benchmark, trivial.lora_chain, 100, check_files=True)


def planned(
    benchmark: BenchmarkFixture, shape: Callable[[int], trivial.Json], nodes: int, *, check_files: bool
) -> graphexec.Plan:
    workflow = shape(nodes)
    data = json.dumps(workflow).encode()
    last = str(nodes - 1) if shape is trivial.chain else "8"

    def plan() -> graphexec.Plan:
        return graphexec.compile(data, registry=REGISTRY, folders=FOLDERS, targets=[last], check_files=check_files)

    return benchmark.pedantic(plan, rounds=7 if nodes < 100_000 else 3, warmup_rounds=1)
