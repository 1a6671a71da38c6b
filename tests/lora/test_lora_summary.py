# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion.tiny import UNetSize, lora_weights
from safetensors.torch import save_file
from torch import Tensor

from graphexec.errors import ModelFileError
from graphexec.lora.header import data_start
from graphexec.lora.summary import Summary, summarize

TAGS = {"10_cat": {"cat": 3, " sofa": 1}, "5_more": {"cat": 2, "hat": 2}}


def summary(tmp_path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Summary:
    path = tmp_path / "x.safetensors"
    save_file(dict(tensors), path, metadata)
    return summarize(path)


def module(
    rank: int = 2, alpha: Tensor | None = None, name: str = "lora_unet_mid_block_attentions_0_proj_in"
) -> dict[str, Tensor]:
    tensors = {f"{name}.lora_up.weight": torch.zeros(8, rank), f"{name}.lora_down.weight": torch.zeros(rank, 8)}
    return tensors if alpha is None else {**tensors, f"{name}.alpha": alpha}


def test_what_a_file_holds(tmp_path: Path) -> None:
    found = summary(tmp_path, {**lora_weights(), "strange": torch.zeros(1)})
    assert set(found.kinds) == {"lora"} and sum(found.kinds.values()) == sum(found.networks.values())
    assert set(found.networks) == {"UNet", "text encoders"}
    assert {"down_blocks.0", "mid_block", "up_blocks.1"} <= set(found.blocks)
    assert found.unknown == ("strange",)


@pytest.mark.parametrize(("context", "family"), [(768, "SD 1.x"), (1024, "SD 2.x"), (2048, "SDXL"), (64, "a model")])
def test_the_family_is_told_from_shapes(context: int, family: str, tmp_path: Path) -> None:
    found = summary(tmp_path, lora_weights(rank=6, only="attn2", size=replace(UNetSize(), context=context)))
    assert found.family == f"{family} (text embeddings {context} wide)"
    assert (found.ranks, dict(found.networks)) == ((6,), {"UNet": 28})


@pytest.mark.parametrize("layer", ["transformer_blocks.5.attn.to_k", "transformer_blocks.0.attn2.to_k"])
def test_a_transformer_without_a_unet_is_not_taken_for_sdxl(layer: str, tmp_path: Path) -> None:
    parts = {"lora_A": torch.zeros(2, 2048), "lora_B": torch.zeros(64, 2)}
    found = summary(tmp_path, {f"transformer.{layer}.{part}.weight": tensor for part, tensor in parts.items()})
    assert found.family == "a model of unknown family"


@pytest.mark.parametrize(
    "layer",
    [
        "lora_unet_input_blocks_4_1_transformer_blocks_{}_attn2_to_k",
        "diffusion_model.middle_block.1.transformer_blocks.{}.attn2.to_v",
        "unet.down_blocks.1.attentions.0.transformer_blocks.{}.attn2.processor.to_k",
        "lora_unet_up_blocks_0_attentions_1_transformer_blocks_{}_attn2_to_v",
    ],
)
def test_however_layers_are_called_the_family_is_told(layer: str, tmp_path: Path) -> None:
    assert summary(tmp_path, wide(2048, layer.format(0))).family == "SDXL (text embeddings 2048 wide)"
    assert summary(tmp_path, wide(640, layer.format(9).replace("attn2", "attn1"))).family == "SDXL"


def wide(columns: int, name: str) -> dict[str, Tensor]:
    return {f"{name}.lora_up.weight": torch.zeros(640, 2), f"{name}.lora_down.weight": torch.zeros(2, columns)}


def test_a_text_encoder_alone_does_not_tell_the_family(tmp_path: Path) -> None:
    found = summary(tmp_path, lora_weights(only="lora_te_"))
    assert (found.family, set(found.networks)) == ("a model of unknown family", {"text encoders"})


FLOATS = [torch.float16, torch.float32, torch.float64, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", FLOATS)
def test_ranks_and_alphas_are_sorted(dtype: torch.dtype, tmp_path: Path) -> None:
    other = module(2, torch.tensor([1.5], dtype=dtype), "lora_unet_input_blocks_10_1_proj_in")
    third = module(4, None, "lora_unet_input_blocks_2_1_q")
    found = summary(tmp_path, {**module(4, torch.tensor(8.0, dtype=dtype)), **other, **third})
    assert (found.ranks, found.alphas) == ((2, 4), (1.5, 8.0))
    assert found.blocks == ("input_blocks.2", "input_blocks.10", "mid_block")


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
def test_an_alpha_that_is_a_whole_number_is_told_as_it_is_applied(dtype: torch.dtype, tmp_path: Path) -> None:
    assert summary(tmp_path, module(2, torch.tensor(16, dtype=dtype))).alphas == (16.0,)


def test_alphas_in_eight_bits_are_those_of_torch(tmp_path: Path) -> None:
    bytes_ = torch.arange(256).to(torch.uint8).view(torch.float8_e4m3fn)
    tensors = {name: part for i in range(256) for name, part in module(1, bytes_[i].clone(), f"m{i}").items()}
    assert summary(tmp_path, tensors).alphas == tuple(sorted({*bytes_.float()[bytes_.float().isfinite()].tolist()}))


def test_tensors_that_others_come_before_are_told(tmp_path: Path) -> None:
    layer = "unet.mid_block.attentions.0.proj_in"
    first = {f"{layer}.lora_A.weight": torch.zeros(4, 8), f"{layer}.lora_B.weight": torch.zeros(8, 4)}
    later = {f"{layer}.lora_down.weight": torch.zeros(2, 8), f"{layer}.lora_up.weight": torch.zeros(8, 2)}
    found = summary(tmp_path, {**first, **later})
    assert (found.ranks, found.kinds, set(found.unknown)) == ((4,), {"lora": 1}, set(later))


def test_an_alpha_in_metadata_counts_and_one_that_is_no_number_does_not(tmp_path: Path) -> None:
    settings = json.dumps({"unet.lora_alpha": 16, "unet.r": 4})
    layer = "unet.mid_block.attentions.0.proj_in"
    peft = {f"{layer}.lora_B.weight": torch.zeros(8, 4), f"{layer}.lora_A.weight": torch.zeros(4, 8)}
    assert summary(tmp_path, peft, {"lora_adapter_metadata": settings}).alphas == (16.0,)
    for none in (torch.zeros(9), torch.tensor(float("nan")), torch.tensor(float("nan")).to(torch.float8_e4m3fn)):
        assert summary(tmp_path, module(2, none)).alphas == ()


def test_what_it_was_trained_with(tmp_path: Path) -> None:
    metadata = {
        "ss_tag_frequency": json.dumps(TAGS),
        "ss_base_model_version": "sd_v1",
        "modelspec.trigger_phrase": "a zebra cat",
    }
    found = summary(tmp_path, module(), metadata)
    assert (found.base_model, found.trigger) == ("sd_v1", "a zebra cat")
    assert list(found.tags.items()) == [("cat", 5), ("hat", 2), ("sofa", 1)]


@pytest.mark.parametrize("text", ["", "[", "[1]", '{"x": 3}', '{"x": {"y": "z"}}', "[" * 100_000])
def test_tags_that_cannot_be_read_are_none(text: str, tmp_path: Path) -> None:
    assert summary(tmp_path, module(), {"ss_tag_frequency": text}).tags == {}


def test_the_hash_of_the_weights_is_that_without_metadata(tmp_path: Path) -> None:
    one, two = summary(tmp_path, module()), summary(tmp_path, module(), {"x": "y"})
    raw = (tmp_path / "x.safetensors").read_bytes()
    with (tmp_path / "x.safetensors").open("rb") as file:
        start = data_start(file)
    assert two.sha256 == hashlib.sha256(raw).hexdigest() != one.sha256
    assert two.weights_sha256 == hashlib.sha256(raw[start:]).hexdigest() == one.weights_sha256


def test_what_is_no_lora_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"x\.safetensors: this is no LoRA.*conv_in"):
        summary(tmp_path, {"conv_in.strange": torch.zeros(1)})
    with pytest.raises(ModelFileError):
        summarize(tmp_path / "none.safetensors")
