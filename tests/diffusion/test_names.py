# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import pytest
import torch
from diffusion.tiny import SD15, SIZES, UNetSize, diffusers_unet, openclip_shapes, text_shapes, unet_shapes

from graphexec.diffusion.models.names import Part, named_shapes, text_parts, unet_parts, vae_parts


@pytest.mark.parametrize(
    "size",
    [
        SD15,
        SIZES["sdxl"],
        UNetSize(64, (1, 2, 4), 2, (False, True, True), 96, depth=3, linear=True, vector=1600),
        UNetSize(32, (1, 2, 2), 3, (True, False, True)),
        UNetSize(32, (1,), 1, (True,)),
    ],
)
def test_a_unet_of_diffusers_has_the_names_of_latent_diffusion(size: UNetSize) -> None:
    names, shapes = diffusers_unet(size), unet_shapes(size)
    stored = {other: shapes[name] for other, name in names.items()}
    parts = unet_parts(stored)
    assert {name: part.name for name, part in parts.items()} == {name: other for other, name in names.items()}
    assert named_shapes(stored, parts) == shapes


def test_names_that_are_known_already_stay() -> None:
    for parts, shapes in ((unet_parts, unet_shapes(UNetSize())), (text_parts, text_shapes())):
        assert parts(shapes) == {name: Part(name) for name in shapes}


def test_names_that_nobody_knows_stay() -> None:
    shapes = {"conv_in.weight": (1,), "down_blocks.0.strange.1.weight": (1,), "mid_block.resnets.7.x.weight": (1,),
              "x": (1,)}  # fmt: skip
    assert set(unet_parts(shapes)) == {"input_blocks.0.0.weight", *list(shapes)[1:]}


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ("encoder.conv_in.weight", "encoder.conv_in.weight"),
        ("encoder.conv_norm_out.bias", "encoder.norm_out.bias"),
        ("encoder.down_blocks.1.resnets.0.conv_shortcut.weight", "encoder.down.1.block.0.nin_shortcut.weight"),
        ("encoder.down_blocks.2.downsamplers.0.conv.bias", "encoder.down.2.downsample.conv.bias"),
        ("encoder.mid_block.resnets.1.norm1.weight", "encoder.mid.block_2.norm1.weight"),
        ("decoder.mid_block.attentions.0.to_q.weight", "decoder.mid.attn_1.q.weight"),
        ("decoder.mid_block.attentions.0.query.weight", "decoder.mid.attn_1.q.weight"),
        ("decoder.mid_block.attentions.0.to_out.0.bias", "decoder.mid.attn_1.proj_out.bias"),
        ("decoder.mid_block.attentions.0.group_norm.bias", "decoder.mid.attn_1.norm.bias"),
        ("decoder.up_blocks.0.resnets.2.conv1.weight", "decoder.up.3.block.2.conv1.weight"),
        ("decoder.up_blocks.2.upsamplers.0.conv.weight", "decoder.up.1.upsample.conv.weight"),
        ("quant_conv.weight", "quant_conv.weight"),
    ],
)
def test_an_autoencoder_of_diffusers_counts_its_decoder_from_the_other_end(other: str, name: str) -> None:
    assert vae_parts({other: (1,), "decoder.up_blocks.3.resnets.0.norm1.bias": (1,)})[name] == Part(other)


def test_openclip_has_the_names_of_transformers() -> None:
    shapes = openclip_shapes(64, 3)
    parts = text_parts(shapes)
    named = named_shapes(shapes, parts)
    assert named == text_shapes(64, 3) | {"text_projection.weight": (64, 64), "logit_scale": ()}
    assert parts["encoder.layers.2.self_attn.v_proj.bias"] == Part("transformer.resblocks.2.attn.in_proj_bias", third=2)


def test_a_projection_is_turned_only_where_it_is_a_bare_parameter() -> None:
    whole = {"text_model." + name: shape for name, shape in text_shapes().items()}
    bare = text_parts(whole | {"text_projection": (32, 16)})["text_projection.weight"]
    assert bare == Part("text_projection", transposed=True)
    assert bare.shape((32, 16)) == (16, 32)
    linear = text_parts(whole | {"text_projection.weight": (16, 32)})
    assert linear["text_projection.weight"] == Part("text_projection.weight")
    assert linear["final_layer_norm.bias"] == Part("text_model.final_layer_norm.bias")


def test_the_parts_of_damaged_tensors_have_shapes_too() -> None:
    assert Part("x", third=1).shape(()) == ()
    assert Part("x", third=1).shape((7, 2)) == (2, 2)
    assert torch.Size(Part("x", transposed=True).shape((5,))) == (5,)
