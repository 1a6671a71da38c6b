"""First stage: the autoencoder, on drawings in all styles; then its latents are whitened."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from emoji import STYLES, Drawings, drawings
from graphexec.diffusion.models.vae import Autoencoder
from graphexec.train.muon import Muon
from layouts import VAE
from scenes import BACKGROUNDS, Scene, compose, tensor_of
from whiten import whiten

BATCH, RATE, WARM_UP = 2, 0.02, 50
"""Many small steps: on a CPU the weights' way is what is short, not the gradients' noise."""
CROP, CROPPED = 64, 0.9
"""Most steps see quarters of pictures, twice as many: the autoencoder looks at neighbourhoods only."""
REPORT, TEST = 200, 12
KL = 6e-7


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


def rate_at(step: int, total: int) -> float:
    warm = min(1.0, (step + 1) / WARM_UP)
    return RATE * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total))))


class Training:
    """The autoencoder under training, taken up where its state file left it."""

    def __init__(self, known: Drawings, state_file: Path, total: int) -> None:
        self.known, self.state_file, self.total = known, state_file, total
        self.model = first_weights().to(memory_format=torch.channels_last)
        self.optimiser = Muon(self.model.parameters(), RATE)
        self.step = 0
        if state_file.exists():
            state = torch.load(state_file, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step = state["step"]

    def run(self, minutes: float) -> bool:
        """Train until all steps are done or the time is up; whether all are."""
        end, kept, losses = time.monotonic() + 60 * minutes, time.monotonic(), list[float]()
        while self.step < self.total and time.monotonic() < end:
            losses.append(self._one())
            self.step += 1
            if self.step % REPORT == 0:
                print(f"{self.step} loss {sum(losses) / len(losses):.4f} whole {self.test():.2f} dB", flush=True)
                losses.clear()
            if time.monotonic() - kept > 180:
                self.keep()
                kept = time.monotonic()
        self.keep()
        return self.step == self.total

    def _one(self) -> float:
        """One step; its loss."""
        self.optimiser.param_groups[0]["lr"] = rate_at(self.step, self.total)
        wanted = picture_batch(self.known, self.step, self.step < CROPPED * self.total)
        wanted = wanted.contiguous(memory_format=torch.channels_last)
        mean, log_variance = self.model.quant_conv(self.model.encoder(wanted)).chunk(2, dim=1)
        log_variance = log_variance.clamp(-12, 4)
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(self.step))
        made = self.model.decode(mean + noise * (0.5 * log_variance).exp())
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(dim=1).mean()
        loss = reconstruction_loss(made, wanted).mean() + KL * divergence
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        return loss.item()

    @torch.no_grad()
    def test(self) -> float:
        """How near whole pictures that were not trained on come, in decibels."""
        pictures = torch.cat([picture_batch(self.known, -1 - step, cropped=False) for step in range(TEST)])
        return decibels(self.model.decode(self.model.encode(pictures)), pictures)

    def keep(self) -> None:
        """Write the state, whole or not at all."""
        state = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.step}
        torch.save(state, self.state_file.with_suffix(".tmp"))
        self.state_file.with_suffix(".tmp").replace(self.state_file)


def first_weights() -> Autoencoder:
    """Residual branches begin at nothing, so that signals keep their size."""
    torch.manual_seed(0)
    model = Autoencoder(VAE)
    for name, parameter in model.named_parameters():
        if name.endswith(("conv2.weight", "conv2.bias", "proj_out.weight")):
            torch.nn.init.zeros_(parameter)
    return model


def decibels(made: Tensor, wanted: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures in -1..1."""
    return -10 * torch.log10((made.detach().clamp(-1, 1) - wanted).square().mean() / 4).item()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("build/tiny"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    training = Training(drawings(given.folder), given.folder / "vae.pt", given.steps)
    if training.run(given.minutes):
        finish(training.known, training.model, given.folder / "vae.safetensors")


@torch.no_grad()
def finish(known: Drawings, model: Autoencoder, file: Path) -> None:
    """Whiten the latents of scenes that were not trained on, and write the autoencoder."""
    unseen = [picture_batch(known, -1 - step, cropped=False) for step in range(256)]
    whiten(model, torch.cat([model.encode(pictures) for pictures in unseen]))
    pictures = torch.cat(unseen[:64])
    print(f"whole pictures: {decibels(model.decode(model.encode(pictures)), pictures):.2f} dB")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, file)


if __name__ == "__main__":
    main()
