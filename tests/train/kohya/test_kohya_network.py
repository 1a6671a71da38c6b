from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from train.kohya.settings import Desk

from graphexec.train.config import GivenNetwork, Network, Optimiser
from graphexec.train.kohya.blocks import COURSES, block_rates

BOTH_ONLY = "network_train_unet_only = true\nnetwork_train_text_encoder_only = true"


def network(desk: Desk, *arguments: str, more: str = "") -> Network:
    return desk.config(f"network_args = {list(arguments)}\n{more}").network


def optimiser(desk: Desk, *arguments: str) -> Optimiser:
    return desk.config(f"network_args = {list(arguments)}").optimiser


def codes(desk: Desk, text: str) -> set[tuple[str, str]]:
    return {(fault.code, fault.key) for fault in desk.errors(text)}


def test_locon(desk: Desk) -> None:
    found = network(desk, "conv_dim=8", "conv_alpha=2", "rank_dropout=0.1", "module_dropout=0.2")
    assert (found.kind, found.conv_rank, found.conv_alpha) == ("lora", 8, 2.0)
    assert (found.rank_dropout, found.module_dropout) == (0.1, 0.2)
    assert network(desk, "conv_dim=8").conv_alpha == 1.0
    assert network(desk).conv_rank is None


def test_ranks_are_whole_and_no_larger_than_any_layer(desk: Desk) -> None:
    ranks = ",".join(["4.5"] * 9)
    more = f'network_dim = 1e20\nnetwork_args = ["conv_dim=65537", "block_dims={ranks}", "conv_block_dims=70000"]'
    found = {(fault.key, fault.message.partition(", not")[0]) for fault in desk.errors(more)}
    assert found == {
        ("network_dim", "expected at most 65536"),
        ("network_args.conv_dim", "expected at most 65536"),
        ("network_args.block_dims", "expected a whole number"),
        ("network_args.conv_block_dims", "expected at most 65536"),
    }
    assert desk.config("network_dim = 65536").network.rank == 65536


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_dropout_that_a_kind_does_not_have_or_that_leaves_nothing(desk: Desk, kind: str) -> None:
    more = (
        f'network_module = "networks.{kind}"\nnetwork_dropout = 0.5\nnetwork_args = ["dropout=0.1", "rank_dropout=1"]'
    )
    assert codes(desk, more) == {
        ("contradiction", "network_dropout"),
        ("contradiction", "network_args.dropout"),
        ("wrong_value", "network_args.rank_dropout"),
    }
    assert codes(desk, "network_dropout = 1") == {("wrong_value", "network_dropout")}
    assert desk.config('network_dropout = 0.5\nnetwork_args = ["rank_dropout=0.1"]').network.dropout == 0.5


def test_a_course_of_rates_is_raised_by_a_number(desk: Desk) -> None:
    (fault,) = desk.errors('network_args = ["down_lr_weight=sine+x"]')
    assert fault.message == "expected a number after sine+, such as sine+0.1"


def warned(desk: Desk, *arguments: str, more: str = "") -> set[tuple[str, str]]:
    return {(each.code, each.key) for each in desk.warnings(f"network_args = {list(arguments)}\n{more}")}


def test_arguments_that_are_hardly_meant(desk: Desk) -> None:
    default, unused = ("default_alpha", "network_args.conv_alpha"), ("contradiction", "network_args.conv_alpha")
    assert warned(desk, "conv_dim=8") == {default}
    assert warned(desk, "conv_alpha=8") == {unused}
    assert warned(desk, "conv_dim=1") == warned(desk, "conv_dim=8", "conv_alpha=8") == set()
    assert warned(desk, "conv_dim=8", more=LYCORIS) == warned(desk, "conv_alpha=8", more=LYCORIS) == set()
    factor = ("contradiction", "network_args.factor")
    assert warned(desk, "factor=8") == warned(desk, "algo=loha", "factor=8", more=LYCORIS) == {factor}
    assert warned(desk, "algo=lokr", "factor=8", more=LYCORIS) == set()


def test_what_was_given_is_kept_for_the_metadata(desk: Desk) -> None:
    arguments = {"preset": "attn-only", "rs_lora": "True", "down_lr_weight": "sine", "loraplus_lr_ratio": "16"}
    text = f"{LYCORIS}\nnetwork_args = {[f'{name}={value}' for name, value in arguments.items()]}"
    found = desk.reading(text, overrides={"network_alpha": "0"}).config.network.given
    assert found == GivenNetwork("lycoris.kohya", 6.0, arguments)
    assert network(desk).given == GivenNetwork("networks.lora", 4.0, {})


@pytest.mark.parametrize(("algorithm", "kind"), [("locon", "lora"), ("loha", "loha"), ("lokr", "lokr")])
def test_lycoris(desk: Desk, algorithm: str, kind: str) -> None:
    found = network(desk, f"algo={algorithm}", "factor=8", more='network_module = "lycoris.kohya"\nnetwork_dim = 6')
    assert (found.kind, found.lokr_factor) == (kind, 8)
    assert (found.conv_rank, found.conv_alpha) == (6, 4.0)  # unless told otherwise LyCORIS trains convolutions too


LYCORIS = 'network_module = "lycoris.kohya"\nnetwork_dim = 6'


@pytest.mark.parametrize(
    ("preset", "conv_rank", "ends", "text"),
    [
        ("full", 6, True, True),
        ("full-lin", 0, True, True),
        ("attn-mlp", None, False, True),
        ("attn-only", None, False, True),
        ("unet-only", 6, True, False),
        ("unet-transformer-only", None, False, False),
        ("unet-convblock-only", 6, True, False),
    ],
)
def test_lycoris_presets(desk: Desk, preset: str, conv_rank: int | None, ends: bool, text: bool) -> None:
    found = network(desk, f"preset={preset}", more=LYCORIS)
    assert (found.conv_rank, found.ends, found.train_text) == (conv_rank, ends, text)
    assert bool(found.ranks_by_name) == (preset in ("attn-only", "unet-convblock-only"))


def test_lycoris_leaves_larger_convolutions_out_if_asked(desk: Desk) -> None:
    assert network(desk, "conv_dim=0", more=LYCORIS).conv_rank == 0
    assert network(desk).conv_rank is None


def test_presets_that_cannot_be(desk: Desk) -> None:
    assert codes(desk, f'{LYCORIS}\nnetwork_args = ["preset=mine.toml"]') == {("wrong_value", "network_args.preset")}
    assert codes(desk, 'network_args = ["preset=full"]') == {("contradiction", "network_args.preset")}
    both = f'{LYCORIS}\nnetwork_args = ["preset=attn-mlp", "conv_dim=4"]'
    assert codes(desk, both) == {("contradiction", "network_args.conv_dim")}


def test_dora_is_over_rows(desk: Desk) -> None:
    assert network(desk, "dora_wd=True", "wd_on_output=True").decompose
    assert codes(desk, 'network_args = ["wd_on_output=False"]') == {("wrong_value", "network_args.wd_on_output")}


def test_alpha(desk: Desk) -> None:
    assert network(desk, more="network_dim = 16").alpha == 4
    assert desk.reading(overrides={"network_alpha": "0", "network_dim": "16"}).config.network.alpha == 16
    assert math.isclose(network(desk, "rs_lora=True", more="network_dim = 16").alpha, 16)


@pytest.mark.parametrize(
    ("text", "code", "key"),
    [
        ('network_module = "networks.dylora"', "refused_key", "network_module"),
        ('network_args = ["use_tucker=True"]', "refused_key", "network_args.use_tucker"),
        ('network_args = ["conv_dims=4"]', "unknown_key", "network_args.conv_dims"),
        ('network_args = ["conv_dim"]', "wrong_value", "network_args"),
        ('network_args = ["algo=loha"]', "contradiction", "network_args.algo"),
        ('network_args = ["network_reg_dims=(=4"]', "wrong_value", "network_args.network_reg_dims"),
        ('network_args = ["up_lr_weight=1,2"]', "wrong_value", "network_args.up_lr_weight"),
        (BOTH_ONLY, "contradiction", "network_train_unet_only"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained(desk: Desk, text: str, code: str, key: str) -> None:
    assert (code, key) in codes(desk, text)


def test_refused_modules_say_what_to_do(desk: Desk) -> None:
    (fault,) = desk.errors('network_module = "networks.lora_flux"')
    assert fault.hint


def test_ranks_and_alphas_by_block(desk: Desk) -> None:
    found = network(desk, "block_dims=2,2,2,2,4,8,8,8,8", "conv_block_alphas=1,1,1,1,1,1,1,1,1", "conv_dim=2")
    assert found.block_ranks == (2, 2, 2, 2, 4, 8, 8, 8, 8)
    assert found.block_alphas == (4,) * 9
    assert found.conv_block_ranks == (2,) * 9


@pytest.mark.parametrize("name", ["block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"])
def test_values_by_block_are_as_many_as_the_base_has_blocks(desk: Desk, name: str) -> None:
    for values in ("2,2,2", "2,2,2,2,-1,2,2,2,2"):
        (fault,) = desk.errors(f'network_args = ["{name}={values}", "conv_dim=2"]')
        assert (fault.code, fault.key) == ("wrong_value", f"network_args.{name}")
    desk.base("sdxl", "xl.safetensors")
    xl = 'pretrained_model_name_or_path = "xl.safetensors"'
    assert network(desk, f"{name}={','.join('2' * 13)}", "conv_dim=2", more=xl)


def test_ranks_by_name(desk: Desk) -> None:
    assert network(desk, "network_reg_dims=attn2=8,_ff_=0").ranks_by_name == (("attn2", 8), ("_ff_", 0))


def test_learning_rates_by_block(desk: Desk) -> None:
    found = optimiser(desk, "down_lr_weight=0,0.5,1,1", "mid_lr_weight=0.1", "block_lr_zero_threshold=0.2")
    assert found.block_lr == (0, 0.5, 1, 1, 0, 1, 1, 1, 1)
    assert optimiser(desk).block_lr == ()


def test_lora_plus(desk: Desk) -> None:
    found = optimiser(desk, "loraplus_lr_ratio=4", "loraplus_text_encoder_lr_ratio=2")
    assert (found.loraplus_unet, found.loraplus_text) == (4, 2)
    text = "loraplus_lr_ratio = 16\nloraplus_unet_lr_ratio = 0\nloraplus_text_encoder_lr_ratio = 0"
    found = desk.config(text).optimiser
    assert (found.loraplus_unet, found.loraplus_text) == (16, 16)


@given(st.sampled_from(sorted(COURSES)), st.integers(2, 12), st.floats(0, 1))
def test_courses_go_from_one_end_to_the_other(name: str, count: int, base: float) -> None:
    rates = block_rates(f"{name}+{base}", None, None, -1.0, count)
    down = rates[:count]
    assert len(rates) == 2 * count + 1
    assert rates[count:] == (1.0,) * (count + 1)
    assert min(down) >= base - 1e-9
    assert list(down) in (sorted(down), sorted(down, reverse=True))
    assert name == "zeros" or math.isclose(max(down) - min(down), 1, abs_tol=1e-9)
