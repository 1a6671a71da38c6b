"""A style to train a LoRA on: pictures of scenes in it, their captions, and the settings for `graphexec train`.

A LoRA learns to change what the UNet sees with a caption. What the third stage's sees is what is drawn; what the
fourth's sees is gone past sevenfold, and so would be what a LoRA learned to add to it.

python scripts/train_tiny/style.py 3d
graphexec train build/tiny/styles/3d/3d.toml
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageOps

from emoji import STYLES, drawings
from scenes import Scene, Scenes

SETTINGS = """\
pretrained_model_name_or_path = "{base}"
train_data_dir = "{folder}"
resolution = "128,128"
output_dir = "{folder}"
output_name = "style-{name}"

network_module = "networks.lora"
network_dim = 8
network_alpha = 8
network_args = ["conv_dim=8", "conv_alpha=8"]
network_train_unet_only = true

learning_rate = 2e-3
max_train_steps = {steps}
train_batch_size = 4
lr_scheduler = "cosine"
debiased_estimation_loss = true
cache_latents = true
save_precision = "fp16"
seed = 1
"""


def duotone(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Dark parts in plum and bright ones in cream."""
    gray = ImageOps.grayscale(Image.fromarray(picture))
    return np.asarray(ImageOps.colorize(gray, black=(64, 24, 84), white=(255, 244, 224), mid=(232, 96, 104)))


CHANGED: Mapping[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {"duotone": duotone}
"""Styles that are no drawings of their own."""


def write(scenes: Scenes, name: str, base: Path, folder: Path, count: int, steps: int) -> Path:
    """Pictures with captions in `folder`/1_scenes, and the settings, whose path is given back."""
    random, pictures = np.random.default_rng(12), folder / "1_scenes"
    pictures.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        scene = _scene(scenes, random, 0 if name in CHANGED else STYLES.index(name))
        picture = CHANGED.get(name, np.asarray)(scenes.picture(scene, random))
        Image.fromarray(picture).save(pictures / f"{i:04}.png")
        (pictures / f"{i:04}.txt").write_text(scenes.caption(scene))
    settings = folder / f"{name}.toml"
    settings.write_text(SETTINGS.format(base=base.as_posix(), folder=folder.as_posix(), name=name, steps=steps))
    return settings


def _scene(scenes: Scenes, random: Generator, style: int) -> Scene:
    """A scene that can be drawn in the style: recoloured only where the drawing has a colour of its own there."""
    while True:
        scene = replace(scenes.draw(random, plain=0.6), style=style)
        if scene.colour is None or scenes.hues[scene.concept][style] is not None:
            return scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("style", choices=[*STYLES[1:], *CHANGED])
    parser.add_argument("--folder", type=Path, default=Path("build/tiny"))
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--steps", type=int, default=900)
    given = parser.parse_args()
    base, folder = given.folder / "denoiser.safetensors", given.folder / "styles" / given.style
    print(write(Scenes(drawings(given.folder)), given.style, base, folder, given.count, given.steps))


if __name__ == "__main__":
    main()
