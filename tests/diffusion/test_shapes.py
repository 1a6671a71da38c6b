from __future__ import annotations

from pathlib import Path

from diffusion.tiny import SIZES, text_shapes, unet_shapes, vae_shapes, write_checkpoint

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.shapes import network_shapes


def test_shapes_have_the_names_of_the_networks(tmp_path: Path) -> None:
    model, clip, vae = open_checkpoint(write_checkpoint(tmp_path / "x.safetensors", family="sdxl"))
    assert network_shapes(model) == unet_shapes(SIZES["sdxl"])
    assert network_shapes(vae) == vae_shapes()
    first, second = map(network_shapes, clip.encoders)
    assert first == text_shapes(32)
    assert second == text_shapes(64) | {"text_projection.weight": (64, 64), "logit_scale": ()}
