"""A full-size SD1.5 checkpoint of random weights, against numbers recorded from ComfyUI 0.3.64 on a CPU.

Needs several gigabytes, so it runs only where GRAPHEXEC_PARITY names a folder with `ref_sd15.safetensors`, `loras/`
and `reference/` (the recorded numbers).
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.encode import encode_prompt
from graphexec.diffusion.images import empty_latent, vae_decode, vae_encode
from graphexec.diffusion.loras import load_lora
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.run import sample
from graphexec.diffusion.types import Clip, Conditioning, Latent, Model, Vae

FOLDER = os.environ.get("GRAPHEXEC_PARITY")
if not FOLDER:
    pytest.skip("GRAPHEXEC_PARITY names no folder with the full-size checkpoint", allow_module_level=True)

ROOT = Path(FOLDER)
RECORDED = ROOT / "reference"
PROMPT, NEGATIVE = "a photo of a (cat:1.3), best quality", "blurry, bad"
SAMPLED = [
    "euler_normal",
    "euler_ancestral_karras",
    "dpmpp_2m_karras",
    "ddim_ddim_uniform",
    "cfg1_skips_uncond",
    "img2img_denoise0.6",
    "inpaint_setlatentnoisemask",
    "euler_128x128",
    "j_combine",
    "g_vaeencode_img2img",
]


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime("cpu")


@pytest.fixture(scope="module")
def checkpoint() -> tuple[Model, Clip, Vae]:
    return open_checkpoint(ROOT / "ref_sd15.safetensors")


def error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def check(name: str, ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    assert ours.shape == theirs.shape, name
    found = error(ours, theirs)
    print(f"{name}: {found:.1e}")
    assert found < tolerance, f"{name}: {found:.1e}"


def test_prompts(runtime: Runtime, checkpoint: tuple[Model, Clip, Vae]) -> None:
    prompts = json.loads((RECORDED / "d_clip_sd15.json").read_text())["prompts"]
    clip = checkpoint[1]
    for part in (0, 1):
        for key, theirs in load_file(RECORDED / f"d_clip_sd15_{part}.safetensors").items():
            case, what = key.split("/")
            number, skip = case.split("|skip")
            prompt = prompts[int(number.removeprefix("prompt"))]
            if "embedding:" in prompt:
                continue
            cond = encode_prompt(runtime, replace(clip, last_layer=-1 if skip == "None" else int(skip)), prompt).conds[
                0
            ]
            if what.endswith("pooled_output"):
                assert cond.pooled is not None
                check(key, cond.pooled, theirs, 1e-4)
            else:
                tokens = [*range(10), 38, *range(76, cond.embedding.shape[1])][: theirs.shape[1]]
                ours = cond.embedding[:, tokens, :64] if "#" in what else cond.embedding
                check(key, ours, theirs, 1e-4)


@pytest.mark.parametrize("case", SAMPLED)
def test_sampling(runtime: Runtime, checkpoint: tuple[Model, Clip, Vae], case: str) -> None:
    model, clip, _ = checkpoint
    workflow = json.loads((RECORDED / "f_ksampler" / f"{case}.json").read_text())
    theirs = load_file(RECORDED / "f_ksampler" / f"{case}.safetensors")
    inputs = {k: v for k, v in workflow["5"]["inputs"].items() if not isinstance(v, list)}
    positive = encode_prompt(runtime, clip, PROMPT)
    if case == "j_combine":
        positive = Conditioning((*positive.conds, *encode_prompt(runtime, clip, "a red dog on the moon").conds))
    latent = start(workflow, theirs)
    ours = sample(runtime, model, positive, encode_prompt(runtime, clip, NEGATIVE), latent, **inputs)
    check(case, ours.samples, theirs["5:0/samples"], 1e-4)


def start(workflow: Any, theirs: dict[str, Tensor]) -> Latent:
    if workflow["4"]["class_type"] == "EmptyLatentImage":
        return empty_latent(workflow["4"]["inputs"]["width"], workflow["4"]["inputs"]["height"])
    if "4:0/samples" in theirs:
        return Latent(theirs["4:0/samples"])
    return Latent(recorded_latent(), theirs.get("5:0/noise_mask"))


def recorded_latent() -> Tensor:
    return load_file(RECORDED / "f_ksampler" / "input_ref_latent.latent")["latent_tensor"].float()


def test_vae(runtime: Runtime, checkpoint: tuple[Model, Clip, Vae]) -> None:
    vae = checkpoint[2]
    recorded = load_file(RECORDED / "f_ksampler" / "g_vaedecode.safetensors")
    check("decode", vae_decode(runtime, vae, Latent(recorded_latent())), recorded["6:0"], 1e-4)
    image = load_file(RECORDED / "f_ksampler" / "inpaint_setlatentnoisemask.safetensors")["20:0"]
    recorded = load_file(RECORDED / "f_ksampler" / "g_vaeencode_img2img.safetensors")
    check("encode", vae_encode(runtime, vae, image).samples, recorded["4:0/samples"], 1e-4)


LORAS = ["kohya_alpha", "kohya_noalpha_fp32", "kohya_ldm_names", "locon", "locon_cp_mid"]


def corner(weight: Tensor) -> Tensor:
    """The part of a weight that was recorded."""
    if weight.ndim == 4:
        side = 8 if weight.shape[-1] == 3 else 16
        return weight[:side, :side]
    if weight.ndim == 2:
        return torch.cat([weight[:16, :16], weight[-16:, -16:]])
    return weight[:64]


@pytest.mark.parametrize("lora", LORAS)
@pytest.mark.parametrize("strength", [0.8, 1.0])
def test_patched_weights(runtime: Runtime, checkpoint: tuple[Model, Clip, Vae], lora: str, strength: float) -> None:
    loaded = load_lora(checkpoint[0], checkpoint[1], ROOT / "loras" / f"ref_{lora}.safetensors", strength, strength)
    assert loaded.model is not None and loaded.clip is not None
    recorded = load_file(RECORDED / "h_lora_slices_0.safetensors")
    start = f"{lora}@{strength}|"
    with runtime.unet(loaded.model) as unet, runtime.text_encoder(loaded.clip.encoders[0], loaded.clip.patches) as text:
        for key in [key for key in recorded if key.startswith(start)]:
            name = key.removeprefix(start)
            if name.startswith("model:"):
                weight = unet.get_parameter(name.removeprefix("model:diffusion_model."))
            else:
                weight = text.get_parameter(name.removeprefix("clip:clip_l.transformer.text_model."))
            check(key, corner(weight), recorded[key], 1e-6)
