# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion.tiny import SD15, UNetSize, lora_weights, text_shapes, unet_shapes
from safetensors.torch import save_file
from torch import Tensor

from graphexec.errors import ModelFileError
from graphexec.lora import Coverage, lora_coverage, lora_facts
from graphexec.lora.header import Header, TensorInfo

UNET, TEXT = unet_shapes(UNetSize()), text_shapes()
Q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"


def header(tensors: dict[str, Tensor]) -> Header:
    return Header({name: TensorInfo("F32", tuple(t.shape), 0, 0) for name, t in tensors.items()}, {})


def cover(tensors: dict[str, Tensor]) -> Coverage:
    return lora_coverage(UNET, TEXT, header(tensors))


def test_a_whole_lora_is_used() -> None:
    tensors = lora_weights()
    coverage = cover(tensors)
    assert set(coverage.used) == set(tensors)
    assert coverage.unused == coverage.warnings() == ()
    assert len(coverage.unet) + len(coverage.text) == len(tensors) / 3
    assert coverage.unet["input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"].name == Q


def test_the_names_of_the_file_itself_are_known_too() -> None:
    assert cover(lora_weights(ldm=True)).unet.keys() == cover(lora_weights()).unet.keys()


def test_a_part_that_is_not_used_is_a_warning() -> None:
    coverage = cover(lora_weights(only="attn1") | {"bundle_emb.x.string_to_param": torch.zeros(3)})
    assert coverage.unused == ("bundle_emb.x.string_to_param",)
    (warning,) = coverage.warnings()
    assert "1 of" in warning and "bundle_emb" in warning


def test_what_is_for_a_network_left_out_is_no_fault() -> None:
    coverage = lora_coverage(UNET, None, header(lora_weights()))
    assert not coverage.text
    assert not coverage.warnings()


def test_a_lora_that_changes_nothing_names_both_families() -> None:
    tensors = {
        name.replace("blocks", "layers"): tensor for name, tensor in lora_weights(only="attn2", size=SD15).items()
    }
    with pytest.raises(ModelFileError, match=r"changes nothing.*SD 1\.x.*768.*the model is a model.*32 wide"):
        cover(tensors)


def test_a_lora_of_another_family_names_both() -> None:
    with pytest.raises(ModelFileError, match=r"'lora_unet.*attn2_to_k'.*32 x 1024.*32 x 32.*SD 2\.x"):
        cover(lora_weights(size=replace(UNetSize(), context=1024)))


@pytest.mark.parametrize("part", ["dora_scale", "hada_w1_a", "diff_b", "lora_up.bias"])
def test_half_of_what_a_module_does_is_refused(part: str) -> None:
    with pytest.raises(ModelFileError, match=rf"{Q}.*'{part}'"):
        cover(lora_weights(only="attn1") | {f"{Q}.{part}": torch.zeros(3)})


def test_a_half_on_a_known_module_is_refused() -> None:
    tensors = lora_weights(only="attn")
    del tensors[f"{Q}.lora_down.weight"]
    with pytest.raises(ModelFileError, match="lora_up"):
        cover(tensors)


def test_a_file_of_another_format_says_what_it_holds() -> None:
    with pytest.raises(ModelFileError, match=r"no LoRA in kohya's format.*hada_w1_a"):
        cover({f"{Q}.hada_w1_a": torch.zeros(3, 3)})


@pytest.mark.parametrize(("context", "family"), [(768, "sd1"), (1024, "sd2"), (2048, "sdxl"), (64, None)])
def test_facts(tmp_path: Path, context: int, family: str | None) -> None:
    path = tmp_path / "x.safetensors"
    save_file(lora_weights(rank=6, only="attn2", size=replace(UNetSize(), context=context)), path)
    facts = lora_facts(path)
    assert facts["family"] == family
    assert (facts["context_width"], facts["rank"], facts["modules"]) == (context, 6, 28)
    assert (facts["unet"], facts["text_encoder"], facts["unknown_tensors"]) == (True, False, 0)


def test_facts_of_a_text_encoder_lora(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(lora_weights(only="lora_te_"), path)
    facts = lora_facts(path)
    assert (facts["family"], facts["unet"], facts["text_encoder"]) == (None, False, True)


def test_facts_of_no_lora_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ModelFileError, match=r"x\.safetensors.*'a'"):
        lora_facts(path)
