"""Fifth stage: the decoder alone, with the latents as they are, for sharper pictures.

It sees latents a little off, as the UNet makes them, and learns to draw what they are near to.

python scripts/train_tiny/decoder.py --start CHECKPOINT --out CHECKPOINT
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from checkpoint import CHECKPOINT, concepts_of, networks_of, read_checkpoint, save_checkpoint
from emoji import STYLES, drawings
from graphexec.diffusion.models.vae import Autoencoder
from graphexec.diffusion.types import DOWNSCALE
from graphexec.train.config import Optimiser, Schedule
from graphexec.train.groups import ParameterGroup
from graphexec.train.loop import Loop, Plan
from parallel import InParts
from progress import Report, go_on
from scenes import Scene, Scenes, compose, tensor_of
from tokens import Tokens
from vae import decibels, reconstruction_loss
from whiten import SCALE

DRAWN_PART = 0.6
"""The part of the pictures that shows what the UNet draws; the others are drawings in any style."""
OFF = 0.3
"""How far latents are off at most, in parts of their own deviation."""
OPTIMISER, EMA = Optimiser("Muon", 0.01), 0.998
EPOCH, TESTED = 500, 48
SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """[B, 3, 128, 128] in -1..1."""

    pixels: Tensor
    names: Sequence[str]


class PictureBatches:
    """Batches of random scenes."""

    def __init__(self, scenes: Scenes, batch: int) -> None:
        self.scenes, self.batch = scenes, batch

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Pictures]:
        for step in range(first, EPOCH):
            yield self.at(np.random.default_rng((10, epoch, step)), self.batch)

    def at(self, random: Generator, count: int) -> Pictures:
        pictures, names = zip(*(_picture(self.scenes, random) for _ in range(count)), strict=True)
        return Pictures(tensor_of(pictures).contiguous(memory_format=torch.channels_last), names)


def _picture(scenes: Scenes, random: Generator) -> tuple[NDArray[np.uint8], str]:
    scene = scenes.any(random, plain=0.5)
    if random.random() < DRAWN_PART:
        return scenes.picture(scene, random), scenes.caption(scene)
    concept, style = (int(random.integers(len(of))) for of in (scenes.concepts, STYLES))
    other = Scene(concept, style, scene.count, None, scene.background)
    return compose(scenes.coloured(other), other, random, still=False), scenes.caption(other)


class Learning:
    """The objective: the picture of latents that are a little off."""

    def __init__(self, vae: Autoencoder, run: Callable[..., Tensor]) -> None:
        self.vae, self.run = vae, run

    def __call__(self, batch: Pictures, generator: torch.Generator) -> Tensor:
        pixels = batch.pixels
        count, height, width = len(pixels), pixels.shape[2] // DOWNSCALE, pixels.shape[3] // DOWNSCALE
        noise = torch.randn(count, self.vae.layout.latent_channels, height, width, generator=generator)
        level = torch.rand(count, 1, 1, 1, generator=generator) * OFF / SCALE
        return self.run(self._losses, pixels, noise * level)

    def _losses(self, pixels: Tensor, off: Tensor) -> Tensor:
        with torch.no_grad():
            latents = self.vae.encode(pixels) + off
        return reconstruction_loss(self.vae.decode(latents), pixels)


def main() -> None:
    given = _arguments()
    torch.set_num_threads(given.threads)
    scenes, tokens = Scenes(drawings(given.folder)), Tokens()
    weights = read_checkpoint(given.start)
    vae = networks_of(weights)["vae"]
    trained = [*vae.post_quant_conv.parameters(), *vae.decoder.parameters()]
    vae.encoder.requires_grad_(False)
    plan = Plan(given.steps, SEED, ema_decay=EMA, optimiser=OPTIMISER, schedule=Schedule("cosine", warmup=50))
    learning = Learning(vae, InParts(trained, given.threads))
    batches, report = PictureBatches(scenes, given.batch), Report(given.folder / "decoder.jsonl")
    groups = [ParameterGroup("decoder", trained, OPTIMISER.learning_rate)]
    loop = Loop(groups, learning, batches, plan, watch=report, device="cpu")
    unseen = batches.at(np.random.default_rng(11), TESTED).pixels
    print(f"before: {_decibels(vae, unseen):.2f} dB", flush=True)
    go_on(loop, given.folder / "decoder-state", given.minutes)
    with loop.averaged():
        print(f"after: {_decibels(vae, unseen):.2f} dB")
        weights["vae"] = {name: tensor.detach().clone() for name, tensor in vae.state_dict().items()}
    save_checkpoint(given.out, weights, tokens.used(("", *scenes.all_words())), concepts_of(given.start))


@torch.no_grad()
def _decibels(vae: Autoencoder, pixels: Tensor) -> float:
    return decibels(vae.decode(vae.encode(pixels)), pixels)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/tiny"))
    parser.add_argument("--start", type=Path, default=Path("build/tiny/guided.safetensors"))
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
