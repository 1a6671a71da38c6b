# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from diffusion.tiny import SD15, UNetSize, lora_weights, text_shapes, unet_shapes
from lora.headers import header_of
from torch import Tensor

from graphexec.errors import ModelFileError
from graphexec.lora import Coverage, lora_coverage
from graphexec.lora.header import Header

UNET, TEXT = unet_shapes(UNetSize()), text_shapes()
Q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
DIFFUSERS_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


def header(tensors: dict[str, Tensor]) -> Header:
    return header_of({name: tuple(tensor.shape) for name, tensor in tensors.items()})


def cover(tensors: dict[str, Tensor]) -> Coverage:
    return lora_coverage(UNET, {"clip_l": TEXT}, header(tensors))


def test_a_whole_lora_is_used() -> None:
    tensors = lora_weights()
    coverage = cover(tensors)
    assert set(coverage.used) == set(tensors)
    assert coverage.unused == coverage.warnings() == ()
    changed = [match.found for match in coverage.matches.values()]
    assert sum(map(len, changed)) == len(tensors) / 3
    (module,) = coverage.unet["input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"]
    assert module.name == Q
    unet = sum(name.startswith("lora_unet_") for name in tensors)
    assert coverage.counts == {"UNet": (unet, unet), "text encoder": (len(tensors) - unet,) * 2}


def test_the_names_of_the_file_itself_are_known_too() -> None:
    assert cover(lora_weights(ldm=True)).unet.keys() == cover(lora_weights()).unet.keys()


def test_a_part_that_is_not_used_is_a_warning() -> None:
    coverage = cover(lora_weights(only="attn1") | {"bundle_emb.x.string_to_param": torch.zeros(3)})
    assert coverage.unused == ("bundle_emb.x.string_to_param",)
    (warning,) = coverage.warnings()
    assert "1 of" in warning and "bundle_emb" in warning


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha": (2,)},
        {"alpha": (0,)},
        {"lora_up.weight": (32, 0), "lora_down.weight": (0, 32)},
        {"lora_mid.weight": (4, 4, 0)},
    ],
)
def test_a_module_without_a_scale_does_not_fit(changes: dict[str, tuple[int, ...]]) -> None:
    tensors = lora_weights(only="attn1")
    tensors |= {f"{Q}.{part}": torch.zeros(shape) for part, shape in changes.items()}
    coverage = cover(tensors)
    assert set(coverage.unused) == {name for name in tensors if name.startswith(Q)}
    assert "has no rank or another empty tensor, or an alpha that is no single number" in coverage.warnings()[1]


def test_what_is_for_a_network_left_out_is_no_fault() -> None:
    coverage = lora_coverage(UNET, None, header(lora_weights()))
    assert set(coverage.matches) == {"unet"}
    assert not coverage.warnings()


def test_a_lora_for_nothing_but_what_is_left_out_changes_nothing() -> None:
    assert not lora_coverage(UNET, None, header(lora_weights(only="lora_te_"))).changes
    assert lora_coverage(UNET, None, header(lora_weights())).changes


@pytest.mark.parametrize(
    "start",
    [
        "lora_te_text_model_",
        "lora_te1_text_model_",
        "lora_te2_text_model_",
        "lycoris_text_model_",
        "text_encoder.text_model.",
        "text_encoder_2.text_model.",
        "text_encoder.base_model.model.text_model.",
        "base_model.model.text_model.",
        "text_encoders.clip_l.transformer.text_model.",
        "text_model.",
    ],
)
def test_whatever_text_encoders_are_called_they_are_left_out(start: str) -> None:
    name = f"{start}encoder.layers.0.mlp.fc1"
    name = name if "." in start else name.replace(".", "_")
    text = {f"{name}.lora_up.weight": torch.zeros(8, 2), f"{name}.lora_down.weight": torch.zeros(2, 8)}
    assert not lora_coverage(UNET, None, header(text)).changes
    coverage = lora_coverage(UNET, None, header(lora_weights(only="attn1") | text))
    assert not coverage.warnings() and set(coverage.counts) == {"UNet"}


def test_a_lora_that_changes_nothing_names_both_families() -> None:
    tensors = {
        name.replace("lora_unet_", "lora_unet_other_"): tensor
        for name, tensor in lora_weights(only="attn2", size=SD15).items()
    }
    with pytest.raises(ModelFileError, match=r"changes nothing.*SD 1\.x.*768.*the model is a model.*32 wide"):
        cover(tensors)


def test_a_lora_of_another_family_names_both() -> None:
    with pytest.raises(ModelFileError, match=r"'lora_unet.*attn2_to_k'.*32 x 1024.*32 x 32.*SD 2\.x"):
        cover(lora_weights(size=replace(UNetSize(), context=1024)))


def test_a_layer_that_the_model_lacks_is_a_warning() -> None:
    tensors = lora_weights() | {f"lora_unet_nowhere.{part}": torch.zeros(4, 4) for part in ("diff",)}
    coverage = cover(tensors)
    assert coverage.unused == ("lora_unet_nowhere.diff",)
    unet = len([name for name in tensors if name.startswith("lora_unet_")])
    assert f"UNet: {unet - 1} of {unet} used" in coverage.warnings()[0]


def test_a_module_that_does_not_fit_among_others_is_left_out_with_a_warning() -> None:
    coverage = cover(lora_weights() | {f"{Q}.lora_down.weight": torch.zeros(4, 7)})
    assert Q not in {module.name for modules in coverage.unet.values() for module in modules}
    assert len(coverage.unused) == 3
    assert "does not fit" in coverage.warnings()[1] and "32 x 7" in coverage.warnings()[1]


def test_magnitudes_that_are_not_as_many_as_rows_or_columns_do_not_fit() -> None:
    told = cover(lora_weights() | {f"{Q}.dora_scale": torch.ones(7, 1)}).warnings()[1]
    assert f"{Q!r} (dora) has tensors that do not fit each other or the weight, the model has" in told


@pytest.mark.parametrize("part", ["lora_up.bias", "lora_other.weight"])
def test_a_part_that_is_not_known_is_a_warning(part: str) -> None:
    assert cover(lora_weights(only="attn1") | {f"{Q}.{part}": torch.zeros(3)}).unused == (f"{Q}.{part}",)


def test_a_half_is_a_warning() -> None:
    tensors = lora_weights(only="attn")
    del tensors[f"{Q}.lora_down.weight"]
    assert cover(tensors).unused == (f"{Q}.lora_up.weight", f"{Q}.alpha")


def test_of_two_spellings_of_one_layer_the_first_counts() -> None:
    ours = {name: tensor for name, tensor in lora_weights(only="attn1_to_q").items() if name.startswith(Q)}
    others = {name.replace(Q, "unet." + DIFFUSERS_Q): tensor for name, tensor in ours.items()}
    coverage = cover(ours | others)
    assert set(coverage.unused) == set(others)


def test_biases_and_norms_are_changed_too() -> None:
    norm = "lora_unet_down_blocks_0_resnets_0_norm1"
    parts = {f"{norm}.w_norm": torch.zeros(32), f"{norm}.b_norm": torch.zeros(32), f"{Q}.diff": torch.zeros(32, 32)}
    coverage = cover(parts)
    assert not coverage.unused
    assert {"input_blocks.1.0.in_layers.0.weight", "input_blocks.1.0.in_layers.0.bias"} < coverage.unet.keys()


def test_a_file_of_another_format_says_what_it_holds() -> None:
    with pytest.raises(ModelFileError, match=r"no LoRA of a format.*emb_params"):
        cover({"emb_params": torch.zeros(3, 3)})


def test_the_text_encoders_of_sdxl_are_told_apart() -> None:
    first = {name.replace("lora_te_", "lora_te1_"): t for name, t in lora_weights(only="lora_te_").items()}
    second = {name.replace("lora_te_", "lora_te2_"): t for name, t in lora_weights(only="lora_te_").items()}
    both = {"clip_l": TEXT, "clip_g": TEXT}
    coverage = lora_coverage(None, both, header(first | second))
    assert not coverage.unused
    assert {m.name[:8] for m in coverage.matches["clip_g"].modules} == {"lora_te2"}
    assert set(coverage.counts) == {"text encoder", "second text encoder"}


def test_a_lora_of_wider_text_encoders_names_both_families() -> None:
    wide = {"lora_te_text_model_encoder_layers_0_self_attn_q_proj.diff": torch.zeros(1024, 1024)}
    with pytest.raises(ModelFileError, match=r"1024 x 1024.*SD 2\.x.*SD 1\.x"):
        lora_coverage(None, {"clip_l": TEXT}, header(wide))


@pytest.mark.parametrize(
    ("way", "changes"),
    [("pissa", True), ("PiSSA_niter_16", True), ("olora", True), (True, False), ("gaussian", False), (None, False)],
)
@pytest.mark.parametrize("network", ["", "unet."])
def test_a_lora_for_weights_that_its_training_changed_is_told(way: object, changes: bool, network: str) -> None:
    told = json.dumps({f"{network}init_lora_weights": way, f"{network}r": 2})
    lora = replace(header(lora_weights()), metadata={"lora_adapter_metadata": told})
    warnings = lora_coverage(UNET, {"clip_l": TEXT}, lora).warnings()
    assert [f"init_lora_weights {way!r}" in warning for warning in warnings] == [True] * changes
