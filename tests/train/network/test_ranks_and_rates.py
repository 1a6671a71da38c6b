# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from train.network.bases import Base, MakeBase, are_same, shake

from graphexec.errors import ModelFileError
from graphexec.train.config import Network, Optimiser
from graphexec.train.faults import TrainingError
from graphexec.train.network import TrainedNetwork
from graphexec.train.network.base import TrainedAdapter
from graphexec.train.output import save_lora

UNET = Network(rank=2, train_text=False)


def attached(base: Base, config: Network, told: list[str] | None = None) -> TrainedNetwork:
    """Without the hooks, which only a forward pass needs."""
    network = base.attach(config, warn=[].append if told is None else told.append)
    network.detach()
    return network


def ranks(network: TrainedNetwork) -> Mapping[str, tuple[int, float]]:
    tensors = network.tensors()
    names = [name.removesuffix(".alpha") for name in tensors if name.endswith(".alpha")]
    return {name: (len(tensors[f"{name}.lora_down.weight"]), float(tensors[f"{name}.alpha"])) for name in names}


def adapters_of(network: TrainedNetwork) -> dict[str, TrainedAdapter]:
    return {name: each for name, each in network.adapters.named_children() if isinstance(each, TrainedAdapter)}


def of_block(found: Mapping[str, object], part: str) -> set[object]:
    return {value for name, value in found.items() if f"_{part}_" in name}


def test_ranks_by_block(bases: MakeBase) -> None:
    base = bases("sd1")  # input blocks 0 to 3, middle, output blocks 0 to 3
    config = replace(UNET, block_ranks=(1, 2, 3, 4, 5, 6, 7, 0, 9), block_alphas=(0, 1, 2, 3, 4, 5, 6, 7, 8))
    found = ranks(attached(base, config))
    assert of_block(found, "down_blocks_0_attentions_0") == {(2, 1)}
    assert of_block(found, "down_blocks_1_attentions_0") == {(4, 3)}
    assert of_block(found, "mid_block") == {(5, 4)}
    assert of_block(found, "up_blocks_0_attentions_0") == {(6, 5)}
    assert of_block(found, "up_blocks_1_attentions_0") == set()
    assert of_block(found, "up_blocks_1_attentions_1") == {(9, 8)}


def test_what_stands_before_and_after_the_blocks_goes_with_the_first_and_the_last(bases: MakeBase) -> None:
    by_block = tuple(range(1, 10))
    found = ranks(attached(bases("sd1"), replace(UNET, ends=True, block_ranks=by_block, conv_block_ranks=by_block)))
    assert of_block(found, "time_embedding") == {(1, 1)}
    assert found["lora_unet_conv_in"] == (1, 1)
    assert found["lora_unet_conv_out"] == (9, 1)


def test_sdxl_takes_sd_scripts_blocks_too(bases: MakeBase) -> None:
    config = replace(
        UNET, conv_rank=1, block_ranks=tuple(range(1, 14))
    )  # before, 4 inputs, 3 middles, 4 outputs, after
    found = ranks(attached(bases("sdxl"), config))
    assert of_block(found, "input_blocks_1_1") == {(3, 1)}
    assert of_block(found, "middle_block_0_emb_layers") == {(6, 1)}
    assert of_block(found, "middle_block_1") == {(7, 1)}
    assert of_block(found, "output_blocks_3_1") == {(12, 1)}


def test_ranks_of_convolutions_and_by_name(bases: MakeBase) -> None:
    config = Network(rank=4, alpha=2, conv_rank=3, conv_alpha=0, ranks_by_name=(("attn2", 0), ("to_[qk]$", 7)))
    found = ranks(attached(bases("sd1"), config))
    assert of_block(found, "resnets_0_conv1") | {found["lora_unet_down_blocks_0_resnets_0_conv1"]} == {(3, 3)}
    assert found["lora_unet_down_blocks_0_resnets_0_time_emb_proj"] == (4, 2)
    assert found["lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"] == (7, 2)
    assert not any("attn2" in name for name in found)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (replace(UNET, block_ranks=(1,) * 25), "block_ranks has 25 values; .* give 9$"),
        (replace(UNET, ranks_by_name=(("(", 1),)), "no regular expression"),
        (replace(UNET, rank=-1), "neither is below 0"),
        (replace(UNET, rank=0), "nothing is left to train"),
        (replace(UNET, dim_from_weights=True), "none are given"),
    ],
)
def test_what_does_not_fit_is_told(bases: MakeBase, config: Network, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        bases("sd1").attach(config)


def test_learning_rates(bases: MakeBase) -> None:
    network = attached(bases("sdxl"), Network(rank=1))
    (everything,) = {group.lr for group in network.groups(Optimiser(learning_rate=3e-4))}
    assert everything == 3e-4
    rates = Optimiser(unet_lr=1e-3, text_lrs=(1e-5, 2e-5), loraplus_unet=16)
    groups = {group.name: group for group in network.groups(rates)}
    assert {name: group.lr for name, group in groups.items()} == {
        "text encoder 1": 1e-5,
        "text encoder 2": 2e-5,
        "unet": 1e-3,
        "unet plus": 1.6e-2,
    }
    assert len(groups["unet"].parameters) == len(groups["unet plus"].parameters)
    assert not any(parameter.any() for parameter in groups["unet plus"].parameters)
    count = sum(len(group.parameters) for group in groups.values())
    assert count == len(list(network.parameters()))


def test_learning_rates_by_block_and_none(bases: MakeBase) -> None:
    network = attached(bases("sd1"), Network(rank=1))
    blocks = (1, 0.5, 1, 0, 1, 1, 1, 1, 2)
    groups = {group.name: group.lr for group in network.groups(Optimiser(learning_rate=0.1, block_lr=blocks))}
    assert groups["unet block 1"] == 0.05
    assert groups["unet block 8"] == 0.2
    assert groups["text encoder"] == 0.1
    assert "unet block 3" not in groups
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen
    assert all("down_blocks_1_attentions_0" in name for name in frozen)


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        (Optimiser(text_lrs=(1, 2)), "2 learning rates for text encoders, and 1"),
        (Optimiser(block_lr=(1, 2)), "block_lr has 2 values"),
        (Optimiser(learning_rate=0), "nothing would be trained"),
    ],
)
def test_rates_that_do_not_fit_are_told(bases: MakeBase, rates: Optimiser, said: str) -> None:
    network = attached(bases("sd1"), Network(rank=1))
    with pytest.raises(TrainingError, match=said):
        network.groups(rates)


def test_norms_are_limited(bases: MakeBase) -> None:
    network = attached(bases("sd1"), Network(rank=2))
    shake(network)
    adapters = adapters_of(network)
    before = {name: adapter.delta().detach() for name, adapter in adapters.items()}
    norms = torch.stack([delta.norm() for delta in before.values()])
    middle = len(norms) // 2
    limit = float(norms.sort().values[middle - 1 : middle + 1].mean())  # between two norms
    network.scale_norms(limit)
    assert (norms > limit).any() and (norms < limit).any()
    for name, adapter in adapters.items():
        torch.testing.assert_close(adapter.delta(), before[name] * (limit / before[name].norm()).clamp(max=1))


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "dora"])
def test_going_on_from_a_file_changes_nothing_yet(bases: MakeBase, tmp_path: Path, kind: str) -> None:
    base = bases("sdxl")
    config = Network("lora" if kind == "dora" else kind, rank=3, alpha=2, conv_rank=1, decompose=kind == "dora")  # pyright: ignore[reportArgumentType]
    first = base.attach(config)
    shake(first)
    expected = base.predict()
    first.detach()
    save_lora(tmp_path / "a.safetensors", first.tensors(), {})
    again = replace(config, rank=1, alpha=1, conv_rank=None, weights=tmp_path / "a.safetensors", dim_from_weights=True)
    for gone_on in (again, replace(config, alpha=7, weights=tmp_path / "a.safetensors")):
        network = base.attach(gone_on, seed=9, warn=pytest.fail)
        assert torch.equal(base.predict(), expected)
        network.detach()
        assert are_same(network, first)


def test_a_rank_that_most_layers_cannot_have_is_told_before_memory_is_taken(bases: MakeBase) -> None:
    class Told(Exception):
        pass

    def stop(message: str) -> None:
        raise Told(message)

    base = bases("sd1")
    base.attach(replace(UNET, rank=32, conv_rank=32, ends=True), warn=stop).detach()  # though an end has 4 channels
    with pytest.raises(Told, match=f"{2**40} is more than 84 of 84 layers can have, which allow 64 at most"):
        base.attach(replace(UNET, rank=2**40), warn=stop)
    base.attach(replace(UNET, kind="lokr", rank=2**40), warn=stop).detach()  # which is whole where a rank saves nothing


def test_a_file_without_alpha_and_of_other_names(bases: MakeBase, tmp_path: Path) -> None:
    path, name = tmp_path / "peft.safetensors", "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    up, down = torch.randn(64, 2), torch.randn(2, 64)
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, path)
    network = attached(bases("sd1"), Network(weights=path, dim_from_weights=True))
    (adapter,) = adapters_of(network).values()
    torch.testing.assert_close(adapter.delta(), up @ down)
    assert adapter.alpha == adapter.rank == 2


def test_what_only_one_of_both_has_is_told(bases: MakeBase, tmp_path: Path) -> None:
    base, path = bases("sd1"), tmp_path / "a.safetensors"
    save_lora(path, attached(base, replace(UNET, ranks_by_name=(("attn1", 0),))).tensors(), {})
    told = list[str]()
    attached(base, replace(UNET, ranks_by_name=(("attn2", 0),), weights=path), told)
    assert [message.split(" ", 1)[1] for message in told] == [
        "of 56 modules are not in a.safetensors and begin anew",
        "modules of a.safetensors are not trained, and will not be in what is saved",
    ]


def test_a_file_that_does_not_fit_is_refused(bases: MakeBase, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_lora(path, attached(bases("sd1"), UNET).tensors(), {})
    with pytest.raises(TrainingError, match="dim_from_weights"):
        bases("sd1").attach(replace(UNET, rank=3, weights=path))
    with pytest.raises(TrainingError, match="give the file's kind"):
        bases("sd1").attach(replace(UNET, kind="loha", weights=path, dim_from_weights=True))
    with pytest.raises(ModelFileError, match="the LoRA is for"):
        bases("sdxl").attach(replace(UNET, weights=path))
