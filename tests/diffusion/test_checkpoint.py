# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion.tiny import (
    SIZES,
    TEXT,
    UNET,
    VAE,
    UNetSize,
    checkpoint_weights,
    lora_weights,
    random_weights,
    unet_shapes,
    vae_shapes,
)
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion.checkpoint import checkpoint_facts, family_of, open_checkpoint, open_vae, read_layout
from graphexec.diffusion.models.layout import AttentionLayer
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import Clip, Model, Sampling, Vae
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
        "prediction": "eps",
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
        (without("time_embed.0"), r"'time_embed\.0\.weight' is missing"),
        (without("attn2.to_k"), r"attn2\.to_k\.weight' is missing"),
        (without("quant_conv"), "quant_conv"),
        (instead(lora_weights()), r"looks like a LoRA \(LoraLoader opens it"),
        (instead(random_weights(unet_shapes(UNetSize()), 0)), r"looks like a UNet alone \(UNETLoader opens it"),
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


@pytest.mark.parametrize("family", SIZES)
def test_a_checkpoint_may_lack_its_vae_or_its_text_encoders(runtime: Runtime, tmp_path: Path, family: str) -> None:
    whole = checkpoint_weights(family=family)
    bare = {name: tensor for name, tensor in whole.items() if name.startswith(UNET)}
    path = saved(tmp_path / "x", bare)
    assert (checkpoint_facts(path)["text_width"], checkpoint_facts(path)["latent_channels"]) == (None, None)
    model, clip, vae = open_checkpoint(path)
    assert model.family == clip.family == family
    with runtime.unet(model) as unet:
        assert torch.equal(unet.get_parameter("out.2.weight"), whole[UNET + "out.2.weight"].float())
    with pytest.raises(ModelFileError, match=r"x: there is no VAE.*VAELoader"), runtime.vae(vae):
        pass
    for encoder in clip.encoders:
        with pytest.raises(ModelFileError, match=r"x: there is no text.*CLIPLoader"), runtime.text_encoder(encoder):
            pass


@pytest.mark.parametrize("channels", [8, 9])
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_inpainting_and_editing_models_take_more_channels(tmp_path: Path, family: str, channels: int) -> None:
    weights = checkpoint_weights(size=replace(SIZES[family], channels=channels), family=family)
    layout = read_layout(saved(tmp_path / "x", weights))
    assert (layout.family, layout.unet.in_channels, layout.unet.out_channels) == (family, channels, 4)


def test_a_model_with_any_other_channels_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x", checkpoint_weights(size=UNetSize(channels=7)))
    with pytest.raises(ModelFileError, match=r"takes 7 channels.*neither a plain, an inpainting \(9"):
        open_checkpoint(path)


ENCODERS = {
    "sd1": [("clip_l", TEXT, 32)],
    "sd2": [("clip_h", "cond_stage_model.model.", 64)],
    "sdxl": [
        ("clip_l", "conditioner.embedders.0.transformer.text_model.", 32),
        ("clip_g", "conditioner.embedders.1.model.", 64),
    ],
    "sdxl_refiner": [("clip_g", "conditioner.embedders.0.model.", 64)],
}


@pytest.mark.parametrize("family", ENCODERS)
def test_families_are_told_by_their_names(tmp_path: Path, family: str) -> None:
    path = saved(tmp_path / "x", checkpoint_weights(family=family))
    layout = read_layout(path)
    model, clip, _vae = open_checkpoint(path)
    assert model.family == clip.family == layout.family == family
    assert [(place.kind, place.prefix, place.layout.width) for place in layout.encoders] == ENCODERS[family]
    assert [(encoder.kind, encoder.prefix) for encoder in clip.encoders] == [e[:2] for e in ENCODERS[family]]
    assert all(place.layout.layers == 2 for place in layout.encoders)
    assert family_of(layout.unet) == family


def test_sd2_and_the_refiner_may_name_their_text_encoder_alike(tmp_path: Path) -> None:
    """SD-Turbo does; the two are told apart by their UNets."""
    alike = renamed("cond_stage_model.model.", "conditioner.embedders.0.model.")(checkpoint_weights(family="sd2"))
    model, clip, _vae = open_checkpoint(saved(tmp_path / "x", alike))
    assert (model.family, clip.family) == ("sd2", "sd2")
    assert [(encoder.kind, encoder.prefix) for encoder in clip.encoders] == [
        ("clip_h", "conditioner.embedders.0.model.")
    ]


@pytest.mark.parametrize("family", ENCODERS)
def test_every_network_of_a_family_is_loaded(runtime: Runtime, tmp_path: Path, family: str) -> None:
    weights = checkpoint_weights(family=family)
    model, clip, vae = open_checkpoint(saved(tmp_path / "x", weights))
    with runtime.unet(model) as unet, runtime.vae(vae) as autoencoder:
        assert torch.equal(unet.get_parameter("out.2.weight"), weights[UNET + "out.2.weight"].float())
        assert torch.equal(autoencoder.quant_conv.weight, weights[VAE + "quant_conv.weight"].float())
    for encoder in clip.encoders:
        with runtime.text_encoder(encoder) as text:
            assert text.layout.layers == 2


def test_openclip_is_split_into_its_projections(runtime: Runtime, tmp_path: Path) -> None:
    weights = checkpoint_weights(family="sdxl")
    clip = open_checkpoint(saved(tmp_path / "x", weights))[1]
    at = clip.encoders[1].prefix
    q, k, v = weights[f"{at}transformer.resblocks.1.attn.in_proj_weight"].float().chunk(3)
    with runtime.text_encoder(clip.encoders[1]) as text:
        for name, expected in (("q", q), ("k", k), ("v", v)):
            assert torch.equal(text.get_parameter(f"encoder.layers.1.self_attn.{name}_proj.weight"), expected)
        embedding = text.get_parameter("embeddings.token_embedding.weight")
        assert torch.equal(embedding, weights[f"{at}token_embedding.weight"].float())


@pytest.mark.parametrize(
    ("family", "extra", "metadata", "expected"),
    [
        ("sdxl", {}, {}, Sampling()),
        ("sdxl", {"v_pred": torch.zeros(0)}, {}, Sampling("v")),
        ("sdxl", {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, {}, Sampling("v", zero_snr=True)),
        ("sdxl", {}, {"modelspec.prediction_type": "v"}, Sampling("v")),
        ("sd1", {}, {"modelspec.predict_key": "v"}, Sampling("v")),
        ("sd1", {}, {"modelspec.predict_key": "epsilon"}, Sampling()),
        (
            "sdxl",
            {"edm_vpred.sigma_max": torch.tensor(80.0), "edm_vpred.sigma_min": torch.tensor(0.5, dtype=torch.float16)},
            {},
            Sampling("v", "edm", sigma_min=0.5, sigma_max=80.0),
        ),
        ("sdxl", {"edm_vpred.sigma_max": torch.tensor(80.0)}, {}, Sampling("v", "edm", sigma_max=80.0)),
    ],
)
def test_what_a_model_predicts_is_told_by_marks_and_metadata(
    tmp_path: Path, family: str, extra: Weights, metadata: dict[str, str], expected: Sampling
) -> None:
    save_file(checkpoint_weights(family=family) | extra, tmp_path / "x", metadata)
    assert open_checkpoint(tmp_path / "x")[0].sampling == expected


V_BIAS = UNET + "output_blocks.3.1.transformer_blocks.0.norm1.bias"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
                                   torch.float8_e5m2])  # fmt: skip
@pytest.mark.parametrize(("spread", "prediction"), [(0.0625, "eps"), (0.125, "v")])
def test_sd2_predicts_what_the_spread_of_a_bias_says(
    tmp_path: Path, dtype: torch.dtype, spread: float, prediction: str
) -> None:
    bias = (torch.tensor([-1.0, 1.0] * 16) * spread).to(dtype)
    path = saved(tmp_path / "x", checkpoint_weights(family="sd2") | {V_BIAS: bias})
    assert open_checkpoint(path)[0].sampling.prediction == prediction


def test_the_inpainting_model_of_sd2_predicts_eps_whatever_its_bias(tmp_path: Path) -> None:
    size = replace(SIZES["sd2"], channels=9)
    weights = checkpoint_weights(size=size, family="sd2") | {V_BIAS: torch.arange(32.0)}
    assert open_checkpoint(saved(tmp_path / "x", weights))[0].sampling == Sampling()


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"edm_mean": torch.zeros(1), "edm_std": torch.zeros(1)}, "Playground"),
        ({"edm_vpred.sigma_max": torch.tensor(-1.0)}, "one positive number"),
        ({"edm_vpred.sigma_max": torch.zeros(2)}, "one positive number"),
        ({"edm_vpred.sigma_max": torch.zeros(1 << 18)}, "should be small"),
        ({"edm_vpred.sigma_max": torch.tensor(1)}, "stored as I64"),
        ({UNET + "label_emb.0.0.weight": torch.zeros(128, 640)}, "told 640 numbers.*SDXL is told 1600"),
    ],
)
def test_models_that_cannot_be_run_are_refused(tmp_path: Path, extra: Weights, says: str) -> None:
    path = saved(tmp_path / "x", checkpoint_weights(family="sdxl") | extra)
    with pytest.raises(ModelFileError, match=f"x: .*{says}"):
        open_checkpoint(path)


def test_a_text_encoder_of_another_width_is_refused(tmp_path: Path) -> None:
    tensors = checkpoint_weights() | {
        name: tensor for name, tensor in checkpoint_weights(size=UNetSize(context=64)).items() if "attn2" in name
    }
    with pytest.raises(ModelFileError, match=r"64 wide.*give 32"):
        open_checkpoint(saved(tmp_path / "x", tensors))


def test_a_vae_of_another_layout_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x", {"decoder.up_blocks.0.resnets.0.conv1.weight": torch.zeros(1)})
    with pytest.raises(ModelFileError, match="layout of diffusers"):
        open_vae(path)
