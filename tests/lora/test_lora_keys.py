from __future__ import annotations

from diffusion.tiny import SD15, UNetSize, text_shapes, unet_shapes, unet_weights
from hypothesis import given
from hypothesis import strategies as st

from graphexec.lora.keys import diffusers_names, text_aliases, unet_aliases


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
    weights = [weight for weight in unet_weights(size) if len(weight.shape) > 1]
    assert diffusers_names(weight.ldm for weight in weights) == {weight.ldm: weight.diffusers for weight in weights}


@given(sizes())
def test_both_spellings_mean_the_same_weight(size: UNetSize) -> None:
    aliases = unet_aliases(unet_shapes(size))
    for weight in unet_weights(size):
        if len(weight.shape) > 1:
            for name in (weight.ldm, weight.diffusers):
                assert aliases["lora_unet_" + name.replace(".", "_")] == f"{weight.ldm}.weight"


def test_the_names_of_sd15() -> None:
    aliases = unet_aliases(unet_shapes(SD15))
    expected = {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0": (
            "input_blocks.1.1.transformer_blocks.0.attn1.to_out.0.weight"
        ),
        "lora_unet_down_blocks_2_resnets_1_conv1": "input_blocks.8.0.in_layers.2.weight",
        "lora_unet_down_blocks_2_downsamplers_0_conv": "input_blocks.9.0.op.weight",
        "lora_unet_mid_block_resnets_1_time_emb_proj": "middle_block.2.emb_layers.1.weight",
        "lora_unet_up_blocks_0_upsamplers_0_conv": "output_blocks.2.1.conv.weight",
        "lora_unet_up_blocks_2_upsamplers_0_conv": "output_blocks.8.2.conv.weight",
        "lora_unet_up_blocks_3_attentions_2_proj_out": "output_blocks.11.1.proj_out.weight",
        "lora_unet_conv_in": "input_blocks.0.0.weight",
    }
    assert {name: aliases[name] for name in expected} == expected
    attention = {weight for name, weight in aliases.items() if "attentions" in name}
    assert len(attention) == 192


def test_the_names_of_a_text_encoder() -> None:
    aliases = text_aliases(text_shapes(32, 2))
    assert (
        aliases["lora_te_text_model_encoder_layers_1_self_attn_out_proj"]
        == "encoder.layers.1.self_attn.out_proj.weight"
    )
    assert sum("layers" in name for name in aliases) == 12
