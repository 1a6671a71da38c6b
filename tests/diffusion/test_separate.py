# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion.tiny import (
    SIZES,
    UNET,
    UNetSize,
    diffusers_unet,
    openclip_shapes,
    random_weights,
    text_shapes,
    unet_shapes,
    vae_shapes,
    write_checkpoint,
)
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.separate import (
    folder_state,
    open_clip,
    open_clips,
    open_configured,
    open_diffusers,
    open_unet,
)
from graphexec.diffusion.shapes import network_shapes
from graphexec.diffusion.types import Sampling
from graphexec.errors import ModelFileError


def saved(path: Path, tensors: dict[str, Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path


def unet_of(family: str, *, diffusers: bool) -> dict[str, Tensor]:
    size: UNetSize = SIZES[family]
    weights = random_weights(unet_shapes(size), 0)
    return {other: weights[name] for other, name in diffusers_unet(size).items()} if diffusers else weights


def text_of(width: int, layers: int) -> dict[str, Tensor]:
    return {f"text_model.{name}": t for name, t in random_weights(text_shapes(width, layers), 0).items()}


@pytest.mark.parametrize("family", SIZES)
def test_a_unet_is_the_same_whatever_its_file_calls_its_weights(tmp_path: Path, runtime: Runtime, family: str) -> None:
    expected = random_weights(unet_shapes(SIZES[family]), 0)
    for model in (
        open_unet(saved(tmp_path / "ldm", unet_of(family, diffusers=False))),
        open_unet(saved(tmp_path / "diffusers", unet_of(family, diffusers=True))),
    ):
        assert (model.family, model.prefix) == (family, "")
        with runtime.unet(model) as unet:
            assert all(torch.equal(weight, expected[name].float()) for name, weight in unet.state_dict().items())


def test_the_unet_of_a_checkpoint_is_taken_from_it(tmp_path: Path) -> None:
    assert open_unet(write_checkpoint(tmp_path / "x", family="sdxl")).prefix == UNET


def test_weights_are_rounded_to_the_precision_that_is_asked_for(tmp_path: Path, runtime: Runtime) -> None:
    model = open_unet(saved(tmp_path / "x", unet_of("sd1", diffusers=False)))
    expected = random_weights(unet_shapes(SIZES["sd1"]), 0)["out.2.weight"]
    with runtime.unet(replace(model, stored="fp8_e5m2")) as unet:
        assert torch.equal(unet.get_parameter("out.2.weight"), expected.to(torch.float8_e5m2).float())
    with runtime.unet(model) as unet:
        assert torch.equal(unet.get_parameter("out.2.weight"), expected.float())


def scaled(weights: dict[str, Tensor], *, by_rows: bool) -> dict[str, Tensor]:
    """Weights as ComfyUI's scaled checkpoints have them: linear ones in eight bits, each with its factors."""
    found = {"scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn), **weights}
    for name, weight in weights.items():
        if name.endswith(".weight") and weight.ndim == 2:
            largest = weight.float().abs()
            factor = (largest.amax(1, keepdim=True) if by_rows else largest.amax()) / 448
            found[name] = (weight.float() / factor).to(torch.float8_e4m3fn)
            found[name.removesuffix("weight") + "scale_weight"] = factor
            found[name.removesuffix("weight") + "scale_input"] = torch.ones(())
    return found


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("diffusers", [False, True])
def test_scaled_weights_are_multiplied(tmp_path: Path, runtime: Runtime, diffusers: bool, by_rows: bool) -> None:
    weights = unet_of("sd1", diffusers=diffusers)
    with runtime.unet(open_unet(saved(tmp_path / "plain", weights))) as unet:
        plain = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    model = open_unet(saved(tmp_path / "scaled", scaled(weights, by_rows=by_rows)))
    assert network_shapes(model).keys() == plain.keys()
    with runtime.unet(model) as unet:
        for name, tensor in unet.state_dict().items():
            assert torch.allclose(tensor, plain[name], rtol=2**-4, atol=1e-3), name
    linear = "time_embed.0.weight"
    assert (unet.get_parameter(linear) / plain[linear] - 1).abs().median() < 2**-5


def test_factors_that_do_not_fit_are_refused(tmp_path: Path, runtime: Runtime) -> None:
    wrong = scaled(unet_of("sd1", diffusers=False), by_rows=False)
    wrong["time_embed.0.scale_weight"] = torch.ones(3)
    model = open_unet(saved(tmp_path / "x", wrong))
    with pytest.raises(ModelFileError, match=r"'time_embed\.0\.scale_weight' holds 3 factors"), runtime.unet(model):
        pass


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_of_any_precision_are_read(tmp_path: Path, runtime: Runtime, dtype: torch.dtype) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in unet_of("sd1", diffusers=False).items()}
    with runtime.unet(open_unet(saved(tmp_path / "x", weights))) as unet:
        assert torch.equal(unet.get_parameter("out.2.weight"), weights["out.2.weight"].float())


@pytest.mark.parametrize(
    ("layers", "kind", "family"), [(12, "clip_l", "sd1"), (23, "clip_h", "sd2"), (32, "clip_g", "sdxl_refiner")]
)
def test_a_text_encoder_is_told_by_its_depth(tmp_path: Path, layers: int, kind: str, family: str) -> None:
    for name, weights in (
        ("hf", text_of(16, layers)),
        ("bare", random_weights(text_shapes(16, layers), 0)),
        ("openclip", random_weights(openclip_shapes(16, layers), 0)),
    ):
        clip = open_clip(saved(tmp_path / name, weights))
        assert (clip.family, clip.encoders[0].kind, clip.encoders[0].prefix) == (family, kind, "")


def test_openclips_picture_tower_is_no_part_of_its_text_encoder(tmp_path: Path, runtime: Runtime) -> None:
    whole = random_weights(openclip_shapes(64, 2), 0)
    whole |= {
        "visual.conv1.weight": torch.zeros(4, 3, 2, 2),
        "visual.proj": torch.zeros(4),
        "attn_mask": torch.zeros(77),
    }
    told = list[str]()
    with runtime.text_encoder(open_clip(saved(tmp_path / "x", whole)).encoders[0], warn=told.append) as text:
        assert text.layout.layers == 2
    assert told == []


def test_the_encoders_of_sdxl_come_in_either_order(tmp_path: Path) -> None:
    small = saved(tmp_path / "l", text_of(32, 2))
    large = saved(tmp_path / "g", random_weights(openclip_shapes(64, 2), 0))
    clip = open_clips(large, small)
    assert clip == open_clips(small, large)
    assert [(encoder.kind, encoder.file.path) for encoder in clip.encoders] == [("clip_l", small), ("clip_g", large)]
    with pytest.raises(ModelFileError, match="both of these are 32 wide"):
        open_clips(small, small)


def folder(root: Path, family: str) -> Path:
    saved(root / "unet" / "diffusion_pytorch_model.safetensors", unet_of(family, diffusers=True))
    saved(root / "vae" / "diffusion_pytorch_model.fp16.safetensors", random_weights(vae_shapes(), 0))
    widths = {"sd1": (32,), "sd2": (64,), "sdxl": (32, 64)}[family]
    for part, width in zip(("text_encoder", "text_encoder_2"), widths, strict=False):
        saved(root / part / "model.safetensors", text_of(width, 2))
    (root / "model_index.json").write_text("{}")
    return root / "model_index.json"


@pytest.mark.parametrize(
    ("family", "kinds"), [("sd1", ["clip_l"]), ("sd2", ["clip_h"]), ("sdxl", ["clip_l", "clip_g"])]
)
def test_a_folder_of_diffusers_is_opened(tmp_path: Path, family: str, kinds: list[str]) -> None:
    index = folder(tmp_path, family)
    model, clip, vae = open_diffusers(index)
    assert model.family == clip.family == family
    assert [encoder.kind for encoder in clip.encoders] == kinds
    assert vae.file.path.name == "diffusion_pytorch_model.fp16.safetensors"
    before = folder_state(index)
    saved(tmp_path / "vae" / "diffusion_pytorch_model.safetensors", {"x": torch.zeros(1)})
    assert folder_state(index) != before


def test_a_folders_scheduler_says_what_is_predicted(tmp_path: Path) -> None:
    index = folder(tmp_path, "sd1")
    (tmp_path / "scheduler").mkdir()
    config = tmp_path / "scheduler" / "scheduler_config.json"
    before = folder_state(index)
    config.write_text(json.dumps({"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}))
    assert open_diffusers(index)[0].sampling == Sampling("v", zero_snr=True)
    assert folder_state(index) != before
    config.write_text("{")
    with pytest.raises(ModelFileError, match=r"scheduler_config\.json"):
        open_diffusers(index)


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("unet", "no diffusion_pytorch_model"),
        ("text_encoder", "no text_encoder"),
        ("text_encoder_2", "its text encoders"),
    ],
)
def test_a_folder_that_lacks_a_part_is_refused(tmp_path: Path, part: str, says: str) -> None:
    index = folder(tmp_path, "sdxl" if part == "text_encoder_2" else "sd1")
    for file in (tmp_path / part).iterdir():
        file.unlink()
    (tmp_path / part).rmdir()
    if part == "text_encoder_2":
        saved(tmp_path / "unet" / "diffusion_pytorch_model.safetensors", unet_of("sdxl", diffusers=True))
    with pytest.raises(ModelFileError, match=says):
        open_diffusers(index)


def test_a_configuration_says_what_is_predicted_and_which_layer_is_used(tmp_path: Path) -> None:
    config = tmp_path / "v.yaml"
    config.write_text(
        "model: {params: {parameterization: v, cond_stage_config: {params: {layer_idx: -2}}}}", encoding="utf-8"
    )
    path = write_checkpoint(tmp_path / "x")
    model, clip, _vae = open_configured(config, path)
    assert (model.sampling.prediction, clip.last_layer) == ("v", -2)
    config.write_text("model: {params: {}}", encoding="utf-8")
    assert open_configured(config, path)[0].sampling.prediction == "eps"
    for text in ("[", "model: 3", "model: {params: 3}"):
        config.write_text(text, encoding="utf-8")
        with pytest.raises(ModelFileError, match=r"v\.yaml"):
            open_configured(config, path)


@pytest.mark.parametrize("name", ["time_embed.cond_proj.weight", "time_embedding.cond_proj.weight"])
def test_a_unet_that_is_told_the_guidance_is_refused(tmp_path: Path, name: str) -> None:
    weights = unet_of("sd1", diffusers=name.startswith("time_embedding"))
    with pytest.raises(ModelFileError, match=rf"'{name}' is in it.*LCM LoRA"):
        open_unet(saved(tmp_path / "x", weights | {name: torch.zeros(32, 256)}))


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    other = saved(tmp_path / "x", {"double_blocks.0.weight": torch.zeros(1)})
    for open_file, says in ((open_unet, "not a UNet.*Flux"), (open_clip, "not a CLIP text encoder.*Flux")):
        with pytest.raises(ModelFileError, match=says):
            open_file(other)
