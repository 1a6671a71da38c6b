"""First stage: the autoencoder, on drawings in all styles; then its latents are whitened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from checkpoint import networks_of, weights_of
from emoji import STYLES, Drawings, drawings
from graphexec.diffusion.models.vae import Autoencoder
from graphexec.diffusion.types import LATENT_CHANNELS
from graphexec.train.config import Optimiser, Schedule
from graphexec.train.groups import ParameterGroup
from graphexec.train.loop import Loop, Plan
from progress import Report, go_on
from scenes import BACKGROUNDS, Scene, compose, tensor_of
from stages import begun, dividing, stage_parser
from whiten import whiten

BATCH = 2
"""Many small steps: on a CPU the weights' way is what is short, not the gradients' noise."""
OPTIMISER = Optimiser("Muon", 0.02)
CROP, CROPPED = 64, 0.9
"""Most steps see quarters of pictures, twice as many: the autoencoder looks at neighbourhoods only."""
KL = 6e-7
SEED = 0
UNSEEN = 256
"""Batches that are not trained on."""


def picture_batch(known: Drawings, step: int, cropped: bool) -> Tensor:
    """Random scenes of step `step`, or parts of twice as many, [B, 3, H, W] in -1..1."""
    random = np.random.default_rng((1, step) if step >= 0 else (8, -step))
    pictures = [_picture(known, random) for _ in range(BATCH)]
    if cropped:
        pictures = [_crop(picture, random) for picture in pictures for _ in range(2)]
    return tensor_of(pictures)


def _picture(known: Drawings, random: np.random.Generator) -> NDArray[np.uint8]:
    scene = _scene(known, random)
    return compose(known.pixels[scene.concept, scene.style], scene, random, still=False)


def _crop(picture: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    left, top = random.integers(0, 128 - CROP + 1, 2)
    return picture[top : top + CROP, left : left + CROP]


def _scene(known: Drawings, random: np.random.Generator) -> Scene:
    background = str(random.choice(list(BACKGROUNDS))) if random.random() < 0.35 else None
    count = int(random.choice([1, 2, 3, 4], p=[0.85, 0.05, 0.05, 0.05]))
    return Scene(int(random.integers(len(known.names))), int(random.integers(len(STYLES))), count, None, background)


def reconstruction_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Absolute and squared error, that of edges, and that of colours at a quarter of the resolution, [B]."""
    error = made - wanted
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    parts = error.abs(), error.square(), 0.5 * across.abs(), 0.5 * down.abs(), F.avg_pool2d(error, 4).abs()
    return torch.stack([part.mean(dim=(1, 2, 3)) for part in parts]).sum(dim=0)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Pictures [B, 3, H, W] in -1..1."""

    pixels: Tensor
    names: Sequence[str]


class Batches:
    """Batches of random scenes: quarters of them at first, whole ones in the end."""

    def __init__(self, known: Drawings, steps: int) -> None:
        self.known, self.steps = known, steps

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Seen]:
        for step in range(first, self.steps):
            pixels = picture_batch(self.known, step, cropped=step < CROPPED * self.steps)
            yield Seen(pixels, [f"scene {step}.{i}" for i in range(len(pixels))])


class Learning:
    """The objective: pictures come back, out of latents that are held a little to white noise (Kingma and Welling 2013,
    https://arxiv.org/abs/1312.6114)."""

    def __init__(self, model: Autoencoder, device: str, run: Callable[..., Tensor]) -> None:
        self.model, self.device, self.run = model, device, run

    def __call__(self, batch: Seen, generator: torch.Generator) -> Tensor:
        pixels = batch.pixels.to(self.device, memory_format=torch.channels_last)
        latents = len(pixels), LATENT_CHANNELS, pixels.shape[2] // 8, pixels.shape[3] // 8
        return self.run(self._losses, pixels, torch.randn(latents, generator=generator, device=self.device))

    def _losses(self, pixels: Tensor, noise: Tensor) -> Tensor:
        mean, log_variance = self.model.quant_conv(self.model.encoder(pixels)).chunk(2, dim=1)
        log_variance = log_variance.clamp(-12, 4)
        made = self.model.decode(mean + noise * (0.5 * log_variance).exp())
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(dim=1)
        return reconstruction_loss(made, pixels) + KL * divergence


def decibels(made: Tensor, wanted: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures in -1..1."""
    return -10 * torch.log10((made.detach().clamp(-1, 1) - wanted).square().mean() / 4).item()


def main() -> None:
    given = begun(stage_parser(__doc__, steps=3000))
    known, model = drawings(given.folder), networks_of({}, given.device)["vae"]
    trained = list(model.parameters())
    plan = Plan(given.steps, SEED, optimiser=OPTIMISER, schedule=Schedule("cosine", warmup=50))
    learning, batches = Learning(model, given.device, dividing(trained, given)), Batches(known, given.steps)
    groups, report = [ParameterGroup("vae", trained, OPTIMISER.learning_rate)], Report(given.folder / "vae.jsonl")
    loop = Loop(groups, learning, batches, plan, watch=report, device=given.device)
    if go_on(loop, given.folder / "vae-state", given.minutes):
        finish(known, model.cpu(), given.folder / "vae.safetensors")


@torch.no_grad()
def finish(known: Drawings, model: Autoencoder, file: Path) -> None:
    """Whiten the latents of scenes that were not trained on, and write the autoencoder."""
    unseen = [picture_batch(known, -1 - step, cropped=False) for step in range(UNSEEN)]
    whiten(model, torch.cat([model.encode(pictures) for pictures in unseen]))
    pictures = torch.cat(unseen[:64])
    print(f"whole pictures: {decibels(model.decode(model.encode(pictures)), pictures):.2f} dB")
    save_file({name: tensor.contiguous() for name, tensor in weights_of(model).items()}, file)


if __name__ == "__main__":
    main()
