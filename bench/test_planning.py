"""How long a workflow takes from its bytes to a plan."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import graphs
import pytest
import trivial
from pytest_benchmark.fixture import BenchmarkFixture

import graphexec
from graphexec.cli.main import COLLECT_AFTER

REGISTRY = graphexec.Registry.standard().with_nodes(trivial)
FOLDERS = graphexec.Folders.standard(environ={})
LORA = FOLDERS.resolve("loras", "graphexec-tiny/style-duotone.safetensors")


@pytest.fixture(autouse=True)
def collector_as_in_the_command() -> Iterator[None]:
    """`graphexec` lets the garbage collector look less often; planning makes a million objects that all live on."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER)
    yield
    gc.set_threshold(*before)


@pytest.mark.parametrize("nodes", [10_000, 100_000])
@pytest.mark.parametrize("shape", [graphs.chain, graphs.lora_chain])
def test_plan(benchmark: BenchmarkFixture, shape: Callable[[int], graphs.Json], nodes: int) -> None:
    """Reading, checking and planning, without a look at model files."""
    data = json.dumps(shape(nodes)).encode()
    last = str(nodes - 1) if shape is graphs.chain else "8"

    def plan() -> graphexec.Plan:
        return graphexec.compile(data, registry=REGISTRY, folders=FOLDERS, targets=[last], check_files=False)

    made = benchmark.pedantic(plan, rounds=7 if nodes < 100_000 else 3, warmup_rounds=1)
    assert len(made.nodes) == nodes


def test_plan_with_files(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """As above, and each of 50 LoRA files is read and compared with the checkpoint.

    The files are written anew before each round, so that nothing is remembered of them.
    """
    workflow = graphs.lora_chain(57)
    loaders = [node["inputs"] for node in workflow.values() if node["class_type"] == "LoraLoader"]
    for place, inputs in enumerate(loaders):
        inputs["lora_name"] = f"{place}.safetensors"
    data = json.dumps(workflow).encode()

    def write() -> None:
        for inputs in loaders:
            path = tmp_path / "loras" / inputs["lora_name"]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(LORA.read_bytes())

    def plan() -> graphexec.Plan:
        folders = graphexec.Folders.standard([tmp_path], environ={})
        return graphexec.compile(data, registry=REGISTRY, folders=folders)

    made = benchmark.pedantic(plan, setup=write, rounds=5, warmup_rounds=1)
    assert len(loaders) == 50 and len(made.files) == 51
