"""VAE nodes in workflows, up to what models for inpainting and editing make of them."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion.tiny import UNetSize, write_checkpoint
from PIL import Image

import graphexec
import graphexec_nodes

REGISTRY = graphexec.Registry().with_nodes(graphexec_nodes)
TILES = {"tile_size": 64, "overlap": 16, "temporal_size": 64, "temporal_overlap": 8}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of the three kinds, and two pictures of which the right half is transparent."""
    root = tmp_path_factory.mktemp("models")
    for kind in ("checkpoints", "input"):
        (root / kind).mkdir()
    for channels in (4, 8, 9):
        write_checkpoint(root / f"checkpoints/{channels}.safetensors", size=UNetSize(channels=channels))
    for color in ("red", "blue"):
        picture = Image.new("RGBA", (24, 16), color)
        picture.paste((0, 0, 0, 0), (12, 0, 24, 16))
        picture.save(root / f"input/{color}.png")
    return root


def workflow(channels: int, color: str = "red", /, **nodes: dict[str, Any]) -> dict[str, Any]:
    return {
        "ckpt": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": f"{channels}.safetensors"}},
        "yes": {"class_type": "CLIPTextEncode", "inputs": {"text": "red", "clip": ["ckpt", 1]}},
        "no": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["ckpt", 1]}},
        "load": {"class_type": "LoadImage", "inputs": {"image": f"{color}.png"}},
        **nodes,
    }


def sampled(latent: str, slot: int, positive: str = "yes") -> dict[str, Any]:
    negative: list[Any] = [positive, 1] if positive != "yes" else ["no", 0]
    links = {"model": ["ckpt", 0], "positive": [positive, 0], "negative": negative, "latent_image": [latent, slot]}
    settings = {"seed": 1, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    return {"class_type": "KSampler", "inputs": {**links, **settings}}


def shown(kind: str, **inputs: Any) -> dict[str, Any]:
    links: dict[str, Any] = {"positive": ["yes", 0], "negative": ["no", 0], "vae": ["ckpt", 2], "pixels": ["load", 0]}
    return {"class_type": kind, "inputs": {**links, **inputs}}


def run(models: Path, document: dict[str, Any], *targets: str) -> graphexec.Result:
    folders = graphexec.Folders.from_roots(models)
    plan = graphexec.compile(document, registry=REGISTRY, folders=folders, targets=targets)
    result = graphexec.run(plan, graphexec.Context(settings={"device": "cpu"}))
    assert not result.failures
    return result


def test_there_and_back_in_tiles(models: Path) -> None:
    there = {"class_type": "VAEEncodeTiled", "inputs": {"pixels": ["load", 0], "vae": ["ckpt", 2], **TILES}}
    back = {"class_type": "VAEDecodeTiled", "inputs": {"samples": ["there", 0], "vae": ["ckpt", 2], **TILES}}
    result = run(models, workflow(4, there=there, back=back), "back")
    assert result.value("back").shape == (1, 16, 24, 3)


def test_encoded_for_inpainting(models: Path) -> None:
    links = {"pixels": ["load", 0], "vae": ["ckpt", 2], "mask": ["load", 1]}
    inpaint = {"class_type": "VAEEncodeForInpaint", "inputs": {**links, "grow_mask_by": 0}}
    latent = run(models, workflow(4, inpaint=inpaint, done=sampled("inpaint", 0)), "done").value("done")
    assert latent.samples.shape == (1, 4, 2, 3)
    assert torch.equal(latent.noise_mask[0, 0, 0], torch.tensor([0.0] * 12 + [1.0] * 12))


@pytest.mark.parametrize(
    ("channels", "given"),
    [
        (9, shown("InpaintModelConditioning", mask=["load", 1], noise_mask=False)),
        (8, shown("InstructPixToPixConditioning")),
    ],
)
def test_what_a_model_is_shown_counts(models: Path, channels: int, given: dict[str, Any]) -> None:
    empty = {"class_type": "EmptyLatentImage", "inputs": {"width": 24, "height": 16, "batch_size": 1}}
    nodes = {"empty": empty, "given": given, "done": sampled("empty", 0, "given"), "plain": sampled("empty", 0)}
    red, blue = (
        run(models, workflow(channels, color, **nodes), "done").value("done").samples for color in ("red", "blue")
    )
    plain = run(models, workflow(channels, **nodes), "plain").value("plain").samples
    assert all(samples.isfinite().all() for samples in (red, blue, plain))
    assert not torch.allclose(red, blue)
    assert not torch.allclose(red, plain)


def test_inpainting_holds_the_rest_fast(models: Path) -> None:
    given = shown("InpaintModelConditioning", mask=["load", 1], noise_mask=True)
    result = run(models, workflow(9, given=given, done=sampled("given", 2, "given")), "given", "done")
    before, after = result.value("given", 2), result.value("done")
    torch.testing.assert_close(after.samples[..., :1], before.samples[..., :1])
    assert not torch.allclose(after.samples[..., 2:], before.samples[..., 2:])


def test_latents_to_edit_from_are_empty(models: Path) -> None:
    latent = run(models, workflow(8, given=shown("InstructPixToPixConditioning")), "given").value("given", 2)
    assert latent.noise_mask is None
    assert torch.equal(latent.samples, torch.zeros(1, 4, 2, 3))
