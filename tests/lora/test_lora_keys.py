# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import pytest
from diffusion.tiny import SD15, UNetSize, text_shapes, unet_shapes, unet_weights
from hypothesis import given
from hypothesis import strategies as st

from graphexec.lora.keys import diffusers_names, is_for_text, text_aliases, unet_aliases

Q = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
OUT = "input_blocks.1.1.transformer_blocks.0.attn1.to_out.0"
DIFFUSERS_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


@st.composite
def sizes(draw: st.DrawFn) -> UNetSize:
    levels = draw(st.integers(1, 5))
    return UNetSize(
        width=32,
        mult=tuple(draw(st.lists(st.sampled_from([1, 2, 4]), min_size=levels, max_size=levels))),
        blocks=draw(st.integers(1, 3)),
        attention=tuple(draw(st.lists(st.booleans(), min_size=levels, max_size=levels))),
        depth=draw(st.integers(1, 2)),
        linear=draw(st.booleans()),
    )


@given(sizes())
def test_names_map_forward_whatever_the_topology(size: UNetSize) -> None:
    weights = list(unet_weights(size))
    assert diffusers_names(weight.ldm for weight in weights) == {weight.ldm: weight.diffusers for weight in weights}


@given(sizes())
def test_both_spellings_mean_the_same_layer(size: UNetSize) -> None:
    aliases = unet_aliases(unet_shapes(size))
    for weight in unet_weights(size):
        for name in (weight.ldm, weight.diffusers):
            assert aliases["lora_unet_" + name.replace(".", "_")] == weight.ldm


def test_the_names_of_sd15() -> None:
    aliases = unet_aliases(unet_shapes(SD15))
    expected = {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0": OUT,
        "lora_unet_down_blocks_2_resnets_1_conv1": "input_blocks.8.0.in_layers.2",
        "lora_unet_down_blocks_2_resnets_1_norm2": "input_blocks.8.0.out_layers.0",
        "lora_unet_down_blocks_2_downsamplers_0_conv": "input_blocks.9.0.op",
        "lora_unet_mid_block_resnets_1_time_emb_proj": "middle_block.2.emb_layers.1",
        "lora_unet_up_blocks_0_upsamplers_0_conv": "output_blocks.2.1.conv",
        "lora_unet_up_blocks_2_upsamplers_0_conv": "output_blocks.8.2.conv",
        "lora_unet_up_blocks_3_attentions_2_proj_out": "output_blocks.11.1.proj_out",
        "lora_unet_conv_in": "input_blocks.0.0",
        "lora_unet_conv_norm_out": "out.0",
        "lora_unet_time_embedding_linear_2": "time_embed.2",
    }
    assert {name: aliases[name] for name in expected} == expected
    kohya = {weight for name, weight in aliases.items() if name.startswith("lora_unet_down_blocks_0_attentions")}
    assert len(kohya) == 2 * 16


@pytest.mark.parametrize(
    "spelling",
    [
        "lora_unet_" + Q.replace(".", "_"),
        "lora_unet_" + DIFFUSERS_Q.replace(".", "_"),
        "lycoris_" + DIFFUSERS_Q.replace(".", "_"),
        f"diffusion_model.{Q}",
        f"unet.{DIFFUSERS_Q}",
        DIFFUSERS_Q,
        f"base_model.model.{DIFFUSERS_Q}",
        f"unet.{DIFFUSERS_Q}".replace(".to_q", ".processor.to_q"),
        DIFFUSERS_Q.replace(".to_q", ".processor.to_q"),
    ],
)
def test_every_trainer_s_spelling_is_known(spelling: str) -> None:
    aliases = unet_aliases(unet_shapes(UNetSize()))
    assert aliases[spelling] == Q
    assert not is_for_text(spelling)


def test_old_diffusers_leaves_out_the_number_of_to_out() -> None:
    name = DIFFUSERS_Q.replace(".to_q", ".processor.to_out")
    assert unet_aliases(unet_shapes(UNetSize()))[f"unet.{name}"] == OUT


def test_sdxl_s_vector_has_names() -> None:
    shapes = unet_shapes(UNetSize()) | {"label_emb.0.0.weight": (128, 64), "label_emb.0.2.weight": (128, 128)}
    aliases = unet_aliases(shapes)
    assert aliases["lora_unet_add_embedding_linear_1"] == aliases["lora_unet_label_emb_0_0"] == "label_emb.0.0"


TEXT = "text_model.encoder.layers.1.self_attn.out_proj"


@pytest.mark.parametrize(
    ("kind", "spelling"),
    [
        ("clip_l", "lora_te_" + TEXT.replace(".", "_")),
        ("clip_l", "lora_te1_" + TEXT.replace(".", "_")),
        ("clip_h", "lora_te_" + TEXT.replace(".", "_")),
        ("clip_g", "lora_te2_" + TEXT.replace(".", "_")),
        ("clip_g", "lora_te_" + TEXT.replace(".", "_")),
        ("clip_l", f"text_encoder.{TEXT}"),
        ("clip_g", f"text_encoder_2.{TEXT}"),
        ("clip_l", f"text_encoders.clip_l.transformer.{TEXT}"),
        ("clip_g", f"text_encoders.clip_g.transformer.{TEXT}"),
        ("clip_l", f"base_model.model.{TEXT}"),
        ("clip_l", "lycoris_" + TEXT.replace(".", "_")),
    ],
)
def test_the_names_of_text_encoders(kind: str, spelling: str) -> None:
    assert text_aliases(text_shapes(32, 2), kind)[spelling] == "encoder.layers.1.self_attn.out_proj"
    assert is_for_text(spelling)


def test_the_projection_of_clip_g_is_a_layer() -> None:
    aliases = text_aliases({"text_projection.weight": (32, 32)}, "clip_g")
    assert aliases["lora_te2_text_projection"] == "text_projection"


def test_the_second_encoder_does_not_take_what_is_for_the_first() -> None:
    assert not [name for name in text_aliases(text_shapes(32, 2), "clip_g") if name.startswith("lora_te1_")]
