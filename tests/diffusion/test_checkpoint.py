# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusion.tiny import TEXT, UNET, VAE, UNetSize, checkpoint_weights, lora_weights, random_weights, vae_shapes
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion.checkpoint import checkpoint_facts, open_checkpoint, open_vae, read_layout
from graphexec.diffusion.models.layout import AttentionLayer
from graphexec.diffusion.types import Clip, Model, Vae
from graphexec.errors import ModelFileError

Recipes = tuple[Model, Clip, Vae]
Weights = dict[str, Tensor]


def saved(path: Path, tensors: Weights) -> Path:
    save_file(tensors, path)
    return path


def test_recipes_name_their_file_and_prefixes(recipes: Recipes, weights: Path) -> None:
    model, clip, vae = recipes
    assert model.file.path == clip.encoders[0].file.path == vae.file.path == weights / "tiny.safetensors"
    assert (model.family, model.prefix, clip.encoders[0].prefix, vae.prefix) == ("sd1", UNET, TEXT, VAE)


def test_facts(weights: Path) -> None:
    facts = checkpoint_facts(weights / "tiny.safetensors")
    parameters = sum(tensor.numel() for tensor in checkpoint_weights().values())
    assert facts == {
        "family": "sd1",
        "bytes": 4 * parameters,
        "context_width": 32,
        "text_width": 32,
        "latent_channels": 4,
        "downscale": 8,
    }


def test_levels_widths_depths_and_projections_are_read(tmp_path: Path) -> None:
    size = UNetSize(64, (1, 2, 4), 2, (False, True, True), 96, depth=3, linear=True)
    unet = read_layout(saved(tmp_path / "x", checkpoint_weights(size=size))).unet
    assert (unet.width, unet.context_width, len(unet.input_blocks), len(unet.output_blocks)) == (64, 96, 9, 9)
    assert unet.middle_block[1] == AttentionLayer(256, 256, 96, depth=3, linear=True)
    assert [any(isinstance(layer, AttentionLayer) for layer in block) for block in unet.input_blocks] == [
        False, False, False, False, True, True, False, True, True,
    ]  # fmt: skip


def test_an_early_checkpoint_without_text_model_in_its_names(tmp_path: Path) -> None:
    tensors = {name.replace("text_model.", ""): tensor for name, tensor in checkpoint_weights().items()}
    clip = open_checkpoint(saved(tmp_path / "x", tensors))[1]
    assert clip.encoders[0].prefix == "cond_stage_model.transformer."


def test_a_separate_vae_with_and_without_prefix(tmp_path: Path, weights: Path) -> None:
    bare = random_weights(vae_shapes(), 0)
    assert open_vae(saved(tmp_path / "bare", bare)).prefix == ""
    assert open_vae(saved(tmp_path / "prefixed", {VAE + name: t for name, t in bare.items()})).prefix == VAE
    assert open_vae(weights / "tiny.safetensors").prefix == VAE


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name}


def renamed(old: str, new: str) -> Callable[[Weights], Weights]:
    return lambda tensors: {name.replace(old, new): tensor for name, tensor in tensors.items()}


def instead(other: Weights) -> Callable[[Weights], Weights]:
    return lambda tensors: other


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("model.diffusion_model"), r"no 'model\.diffusion_model\.input_blocks\.0\.0\.weight'"),
        (without("first_stage_model"), r"no 'first_stage_model\.decoder"),
        (renamed(TEXT, "cond_stage_model.model.x."), r"no 'cond_stage_model\.transformer.*an SD 2\.x checkpoint"),
        (renamed(TEXT, "conditioner.embedders.0."), "an SDXL checkpoint"),
        (without("time_embed.0"), r"'time_embed\.0\.weight' is missing"),
        (without("attn2.to_k"), r"attn2\.to_k\.weight' is missing"),
        (without("quant_conv"), "quant_conv"),
        (instead(lora_weights()), "looks like a LoRA"),
        (instead({"x.y": torch.zeros(1)}), r"begin with 'x\.y'"),
        (instead({}), "empty"),
    ],
)
def test_other_files_are_refused_with_what_was_looked_for(
    tmp_path: Path, change: Callable[[Weights], Weights], says: str
) -> None:
    path = saved(tmp_path / "other.safetensors", change(checkpoint_weights()))
    with pytest.raises(ModelFileError, match=rf"other\.safetensors: .*{says}"):
        open_checkpoint(path)


def test_an_inpainting_model_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x", checkpoint_weights(size=UNetSize(channels=9)))
    with pytest.raises(ModelFileError, match=r"9 channels.*inpainting"):
        open_checkpoint(path)


def test_a_text_encoder_of_another_width_is_refused(tmp_path: Path) -> None:
    tensors = checkpoint_weights() | {
        name: tensor for name, tensor in checkpoint_weights(size=UNetSize(context=64)).items() if "attn2" in name
    }
    with pytest.raises(ModelFileError, match=r"64 wide.*gives 32"):
        open_checkpoint(saved(tmp_path / "x", tensors))


def test_a_vae_of_another_layout_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x", {"decoder.up_blocks.0.resnets.0.conv1.weight": torch.zeros(1)})
    with pytest.raises(ModelFileError, match="layout of diffusers"):
        open_vae(path)
