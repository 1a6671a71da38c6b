# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusion.tiny import SD15, UNetSize, text_shapes, unet_shapes
from train.network.bases import MakeBase, are_same, shake

from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.layout import clip_layout, unet_layout
from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import EncoderKind, Family
from graphexec.train.config import Network
from graphexec.train.faults import TrainingError
from graphexec.train.network.targets import text_targets, unet_targets

KINDS = {
    "lora": Network(rank=2),
    "locon": Network(rank=2, alpha=1, conv_rank=1, conv_alpha=0.5, ends=True),
    "loha": Network("loha", rank=2, conv_rank=1, ends=True),
    "lokr": Network("lokr", rank=1, conv_rank=1, lokr_factor=8),
    "dora": Network(rank=2, conv_rank=1, decompose=True),
}
FAMILIES: tuple[Family, ...] = ("sd1", "sd2", "sdxl")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_changes_nothing_at_first_and_is_read_back_whole(
    bases: MakeBase, tmp_path: Path, family: Family, kind: str
) -> None:
    base = bases(family)
    before = base.predict()
    network = base.attach(KINDS[kind])
    assert torch.equal(base.predict(), before)
    shake(network)
    expected = base.predict()
    loaded = base.load(network, tmp_path / "lora.safetensors")
    network.detach()
    assert not loaded.coverage.unused
    assert len(loaded.coverage.used) == len(network.tensors())
    assert torch.equal(base.predict(), before)
    assert not torch.allclose(expected, before, rtol=0.05, atol=0.05)
    assert loaded.model
    with Runtime("cpu").unet(loaded.model) as patched:
        applied = base.predict(patched)
    torch.testing.assert_close(applied, expected, rtol=1e-4, atol=1e-4)


def test_names_are_those_of_sd_scripts(bases: MakeBase) -> None:
    names = {family: names_of(bases, family) for family in FAMILIES}
    assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0" in names["sd1"]
    assert "lora_unet_mid_block_attentions_0_proj_in" in names["sd2"]
    assert "lora_unet_up_blocks_0_upsamplers_0_conv" in names["sd1"]
    assert "lora_unet_down_blocks_0_resnets_0_time_emb_proj" in names["sd1"]
    assert "lora_te_text_model_encoder_layers_1_mlp_fc2" in names["sd1"]
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj" in names["sd2"]
    assert "lora_unet_input_blocks_1_1_transformer_blocks_1_ff_net_0_proj" in names["sdxl"]
    assert "lora_unet_input_blocks_2_0_op" in names["sdxl"]
    assert "lora_te1_text_model_encoder_layers_1_self_attn_out_proj" in names["sdxl"]
    assert "lora_te2_text_model_encoder_layers_1_self_attn_out_proj" in names["sdxl"]


def names_of(bases: MakeBase, family: Family, *, ends: bool = False) -> set[str]:
    network = bases(family).attach(Network(conv_rank=1, ends=ends))
    network.detach()
    return {name.partition(".")[0] for name in network.tensors()}


def whole_unet(size: UNetSize) -> UNet:
    with torch.device("meta"):
        return UNet(unet_layout(unet_shapes(size)))


def whole_encoder(kind: EncoderKind, width: int, layers: int) -> ClipText:
    with torch.device("meta"):
        return ClipText(clip_layout(text_shapes(width, layers), kind))


def test_a_whole_sd15_has_as_many_modules_as_in_sd_scripts() -> None:
    unet = whole_unet(SD15)
    assert len(list(unet_targets(unet, "sd1", convolutions=False))) == 192
    convolutions = list(unet_targets(unet, "sd1", convolutions=True))
    assert len(convolutions) == 192 + 22 * 3 + 14 + 6
    assert sum(not target.is_small for target in convolutions) == 50
    assert len(list(text_targets([whole_encoder("clip_l", 768, 12)], "sd1"))) == 72
    assert len(list(text_targets([whole_encoder("clip_h", 1024, 24)], "sd2"))) == 138
    assert len(list(text_targets([whole_encoder("clip_h", 1024, 23)], "sd2"))) == 138


def test_the_ends_have_the_names_that_lycoris_gives_them(bases: MakeBase) -> None:
    added = names_of(bases, "sd1", ends=True) - names_of(bases, "sd1")
    ends = {"conv_in", "conv_out", "time_embedding_linear_1", "time_embedding_linear_2"}
    assert added == {f"lora_unet_{name}" for name in ends}


def test_text_or_unet_alone(bases: MakeBase) -> None:
    base = bases("sdxl")
    for config, start in ((Network(train_text=False), "lora_unet_"), (Network(train_unet=False), "lora_te")):
        network = base.attach(config)
        network.detach()
        names = network.tensors().keys()
        assert names and all(name.startswith(start) for name in names)
    with pytest.raises(TrainingError, match="nothing is left to train"):
        base.attach(Network(train_text=False, train_unet=False))


def test_the_same_seed_gives_the_same_weights_whatever_else_is_trained(bases: MakeBase) -> None:
    base = bases("sd1")
    both, alone, other = base.attach(Network()), base.attach(Network(train_text=False)), base.attach(Network(), seed=1)
    for network in (both, alone, other):
        network.detach()
    first, second = both.tensors(), alone.tensors()
    assert all(torch.equal(first[name], tensor) for name, tensor in second.items())
    down = next(name for name in first if name.endswith("down.weight"))
    assert not torch.equal(first[down], other.tensors()[down])


def test_weights_are_taken_over_exactly_and_others_refused(bases: MakeBase) -> None:
    base = bases("sd1")
    network, other = base.attach(Network(train_text=False)), base.attach(Network(train_text=False), seed=3)
    network.detach()
    other.detach()
    shake(network)
    other.load(network.tensors())
    assert are_same(other, network)
    with pytest.raises(TrainingError, match="not the weights of this network"):
        other.load(dict(list(network.tensors().items())[1:]))
