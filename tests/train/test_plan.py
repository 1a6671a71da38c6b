# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from diffusion.tiny import write_checkpoint
from train.data.sets import captioned, picture

from graphexec.diffusion.checkpoint import read_layout
from graphexec.diffusion.faults import MissingDevice
from graphexec.train.config import (
    Buckets,
    CaptionRules,
    Dataset,
    LoopConfig,
    ModelSource,
    Network,
    Optimiser,
    Saving,
    Subset,
    TrainConfig,
)
from graphexec.train.data.faults import DataError
from graphexec.train.estimate import Cost, count_cost, measure_speed
from graphexec.train.faults import TrainingError
from graphexec.train.plan import make_plan
from graphexec.train.run import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("plan")
    write_checkpoint(place / "base.safetensors")
    captioned(place / "train" / "wide.png", "a, b, c", (128, 32))
    captioned(place / "train" / "square.png", "d", (64, 64))
    picture(place / "reg" / "x.png", (64, 64))
    return place


def config(folder: Path, **loop: object) -> TrainConfig:
    train = Subset(folder / "train", repeats=3, captions=CaptionRules(prefix="sks"))
    reg = Subset(folder / "reg", class_tokens="thing", is_reg=True)
    dataset = Dataset((train, reg), (64, 64), 2, Buckets(32, 128, 32))
    given = {"max_epochs": 2, "device": "cpu"} | loop
    return TrainConfig(
        ModelSource(folder / "base.safetensors"),
        (dataset,),
        Saving(folder / "out", "style", "fp16"),
        Network(rank=4),
        loop=LoopConfig(**given),  # pyright: ignore[reportArgumentType]
    )


def test_a_plan(folder: Path) -> None:
    plan = make_plan(config(folder, accumulation=2))
    assert (plan.family, plan.prediction, plan.pictures, plan.regularisation) == ("sd1", "eps", 3, 1)
    assert (plan.used_per_epoch, plan.batches_per_epoch) == (12, 7)
    assert (plan.epochs, plan.steps) == (2, 8)
    assert sum(plan.buckets.values()) == 12
    assert dict(plan.captions)["wide.png"] == "sks a, b, c"
    assert plan.output == folder / "out" / "style.safetensors"
    assert plan.seconds > 0
    assert not (folder / "out").exists()


def test_the_cost_is_that_of_a_batch_that_there_is(folder: Path) -> None:
    """Neither a small dataset's batch size with another's bucket, nor more pictures than a bucket has."""
    large = Dataset((Subset(folder / "train"),), (64, 64), 2, Buckets(32, 128, 32))
    many = Dataset((Subset(folder / "reg", repeats=2, class_tokens="thing"),), (32, 32), 4)
    both = replace(config(folder), datasets=(large, many))
    assert both.datasets[0].buckets is not None
    alone = replace(both, datasets=(replace(large, batch_size=1),))
    assert make_plan(both).cost == make_plan(alone).cost


def test_text_encoders_whose_outputs_are_kept_take_no_memory(folder: Path) -> None:
    kept, not_kept = (make_plan(config(folder, cache_text=cached)).cost.weight_bytes for cached in (True, False))
    text = read_layout(folder / "base.safetensors").encoders
    assert text and 0 < kept < not_kept


def test_steps_count_where_there_are_no_epochs(folder: Path) -> None:
    plan = make_plan(config(folder, max_epochs=None, max_steps=15))
    assert (plan.steps, plan.epochs) == (15, 3)


def test_a_plan_as_json(folder: Path) -> None:
    document = json.loads(json.dumps(make_plan(config(folder)).as_json()))
    assert document["cost"]["memory_bytes"] > document["cost"]["weight_bytes"]
    assert {bucket["pictures"] for bucket in document["buckets"]} == {3, 9}


def test_pictures_without_captions_have_no_plan(folder: Path) -> None:
    broken = config(folder)
    subset = replace(broken.datasets[0].subsets[0], captions=CaptionRules(extension=".tags"))
    with pytest.raises(DataError):
        make_plan(replace(broken, datasets=(replace(broken.datasets[0], subsets=(subset,)),)))


def test_arguments_that_the_optimiser_does_not_take(folder: Path) -> None:
    with pytest.raises(TrainingError, match="AdamW takes no argument 'weight_decy'"):
        make_plan(replace(config(folder), optimiser=Optimiser(arguments={"weight_decy": 0.1})))


def test_an_optimiser_that_is_not_installed_has_a_plan(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lion_pytorch", None)
    (warning,) = make_plan(replace(config(folder), optimiser=Optimiser("Lion"))).warnings
    assert "graphexec[train]" in warning


def cost(folder: Path, size: tuple[int, int] = (64, 64), batch: int = 1, **loop: object) -> Cost:
    wanted = config(folder, **loop)
    return count_cost(wanted, read_layout(wanted.model.path), size, batch)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimiser": Optimiser(text_lrs=(1e-4, 1e-4))}, "learning rates"),
        ({"network": Network(block_ranks=(4, 4))}, "block_ranks"),
        ({"network": Network(ranks_by_name=(("x", 4), (".*", -1)))}, "rank -1"),
    ],
)
def test_what_the_model_does_not_have_is_refused_by_the_plan(folder: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        make_plan(replace(config(folder), **change))


def test_a_layer_of_text_that_the_base_does_not_have_is_refused_by_the_plan(folder: Path) -> None:
    bare = config(folder)
    with pytest.raises(TrainingError, match="clip_skip 99"):
        make_plan(replace(bare, model=replace(bare.model, clip_skip=99)))


def test_costs_grow_with_the_batch_and_the_picture(folder: Path) -> None:
    one, two = cost(folder), cost(folder, batch=2)
    larger = cost(folder, (128, 64))
    assert 1.5 * one.operations < two.operations < 2.5 * one.operations
    assert 1.5 * one.activation_bytes < two.activation_bytes < 2.5 * one.activation_bytes
    assert larger.operations > one.operations
    assert larger.activation_bytes > 1.2 * one.activation_bytes
    assert (one.parameters, one.file_bytes) == (two.parameters, 2 * two.parameters)


def test_checkpointing_takes_time_for_memory(folder: Path) -> None:
    plain, checkpointed = cost(folder), cost(folder, gradient_checkpointing=True)
    assert checkpointed.activation_bytes < plain.activation_bytes
    assert checkpointed.operations > plain.operations


def test_lower_precision_takes_less_memory(folder: Path) -> None:
    assert cost(folder, precision="bf16").weight_bytes * 2 == cost(folder).weight_bytes


def test_the_count_is_that_of_a_real_step(folder: Path) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from graphexec.diffusion.checkpoint import open_checkpoint
    from graphexec.diffusion.loading import UNET, Source, load_network
    from graphexec.diffusion.pristine import Pristine
    from graphexec.train.network import TrainedNetwork

    path = folder / "base.safetensors"
    model, _, _ = open_checkpoint(path)
    weights = Pristine.open(UNET, Source(model.file, model.prefix)).weights
    unet = load_network(UNET, weights, torch.device("cpu"), torch.float32)
    network = TrainedNetwork.attach(Network(rank=4, train_text=False), unet, (), "sd1", 0)
    with FlopCounterMode(display=False) as counter:
        unet(torch.ones(1, 4, 8, 8), torch.ones(1), torch.ones(1, 77, 32)).sum().backward()
    network.detach()
    bare = config(folder, cache_text=True)
    counted = count_cost(
        replace(bare, network=Network(rank=4, train_text=False)), read_layout(path), (64, 64), 1
    ).operations
    attention = counted - counter.get_total_flops()  # which torch does not count on a CPU
    assert 0 < attention < 0.2 * counted


def test_speed_is_measured() -> None:
    speed = measure_speed("cpu", "fp32", 0.01)
    assert (speed.device, speed.operations > 1e6) == ("cpu", True)
    with pytest.raises(MissingDevice, match="no device cuda:99 here"):
        measure_speed("cuda:99", "fp32", 0.01)


def test_a_rank_that_layers_cannot_have_is_told_by_the_plan(folder: Path) -> None:
    (warning,) = make_plan(replace(config(folder), network=Network(rank=100))).warnings
    assert warning.startswith("a rank of 100 is more than") and "choose a smaller rank" in warning


@pytest.mark.parametrize("given", [{}, {"decompose": True}, {"kind": "loha"}, {"kind": "lokr"}])
def test_a_lora_to_go_on_from_costs_as_much_as_at_first(given: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    bare = replace(config(folder, max_epochs=None, max_steps=1), saving=Saving(tmp_path), network=Network(**given))
    again = replace(bare.network, rank=8, weights=train(bare).lora, dim_from_weights=True)
    assert make_plan(replace(bare, network=again)).cost == make_plan(bare).cost
