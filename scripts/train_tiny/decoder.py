"""Fifth stage: the decoder alone, with the latents as they are, for sharper pictures.

It sees latents as the UNet makes them, and others a little off, and learns to draw what they are near to, as a critic
wants it.

python scripts/train_tiny/decoder.py --start CHECKPOINT --out CHECKPOINT
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from checkpoint import CHECKPOINT, concepts_of, networks_of, read_checkpoint, save_checkpoint, weights_of
from critic import Critic, criticism
from emoji import STYLES, drawings
from graphexec.diffusion.models.vae import Autoencoder
from graphexec.train.config import Optimiser, Schedule
from graphexec.train.groups import ParameterGroup
from graphexec.train.loop import Loop, Plan
from pairs import Pairs, make_pairs
from progress import Report, go_on
from scenes import Scene, Scenes, compose, tensor_of
from stages import begun, dividing, stage_parser
from tokens import Tokens, Told
from vae import decibels, reconstruction_loss
from whiten import SCALE

SAMPLED_PART = 0.65
"""The part of the pictures whose latents the UNet made."""
DRAWN_PART = 0.6
"""The part of the others that shows what the UNet draws; the rest are drawings in any style."""
OFF = 0.3
"""How far the others' latents are off at most, in parts of their own deviation."""
OPTIMISER, CRITIC_RATE, EMA = Optimiser("Muon", 0.005), 0.01, 0.998
EPOCH, TESTED = 500, 48
SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Latents [B, 4, 16, 16] as the autoencoder has them, and the pictures that they are of, [B, 3, 128, 128] in
    -1..1."""

    latents: Tensor
    pixels: Tensor
    names: Sequence[str]


class Batches:
    """Batches of pairs and of random scenes."""

    def __init__(self, scenes: Scenes, vae: Autoencoder, pairs: Pairs, batch: int, device: str) -> None:
        self.scenes, self.vae, self.pairs, self.batch, self.device = scenes, vae, pairs, batch, device

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Seen]:
        for step in range(first, EPOCH):
            random = np.random.default_rng((10, epoch, step))
            each = [
                self._pair(random) if random.random() < SAMPLED_PART else self._scene(random) for _ in range(self.batch)
            ]
            latents, pixels, names = zip(*each, strict=True)
            yield Seen(torch.stack(latents), torch.stack(pixels), names)

    def _pair(self, random: Generator) -> tuple[Tensor, Tensor, str]:
        i = int(random.integers(len(self.pairs.latents)))
        return self.pairs.latents[i].float(), tensor_of([self.pairs.pictures[i].numpy()])[0], f"pair {i}"

    @torch.no_grad()
    def _scene(self, random: Generator) -> tuple[Tensor, Tensor, str]:
        picture, name = _picture(self.scenes, random)
        pixels = tensor_of([picture])
        latents = self.vae.encode(pixels.to(self.device))[0].cpu()
        noise = torch.from_numpy(random.standard_normal(latents.shape, np.float32))
        return latents + noise * (random.random() * OFF / SCALE), pixels[0], name


def _picture(scenes: Scenes, random: Generator) -> tuple[NDArray[np.uint8], str]:
    scene = scenes.any(random, plain=0.5)
    if random.random() < DRAWN_PART:
        return scenes.picture(scene, random), scenes.caption(scene)
    concept, style = (int(random.integers(len(of))) for of in (scenes.concepts, STYLES))
    other = Scene(concept, style, scene.count, None, scene.background)
    return compose(scenes.coloured(other), other, random, still=False), scenes.caption(other)


class Learning:
    """The objective: the pictures that latents are of, such that a critic takes them for drawn ones; and the critic's
    own."""

    def __init__(self, vae: Autoencoder, critic: Critic, device: str, run: Callable[..., Tensor]) -> None:
        self.vae, self.critic, self.device, self.run = vae, critic, device, run

    def __call__(self, batch: Seen, generator: torch.Generator) -> Tensor:
        pixels = batch.pixels.to(self.device, memory_format=torch.channels_last)
        return self.run(self._losses, batch.latents.to(self.device), pixels)

    def _losses(self, latents: Tensor, pixels: Tensor) -> Tensor:
        made = self.vae.decode(latents)
        return reconstruction_loss(made, pixels) + criticism(self.critic, made, pixels)


def main() -> None:
    given = _given()
    torch.manual_seed(SEED)
    scenes, tokens = Scenes(drawings(given.folder)), Tokens()
    weights = read_checkpoint(given.start)
    made = networks_of(weights, given.device)
    critic = Critic().to(given.device, memory_format=torch.channels_last)
    vae = made["vae"]
    told, kept = Told(made["text"], tokens), given.folder / f"pairs-{_digest(given.start)}"
    pairs = make_pairs(scenes, made, told, kept, given.pairs, given.device, given.threads)
    trained, judging = [*vae.post_quant_conv.parameters(), *vae.decoder.parameters()], [*critic.parameters()]
    plan = Plan(given.steps, SEED, ema_decay=EMA, optimiser=OPTIMISER, schedule=Schedule("cosine", warmup=50))
    learning = Learning(vae, critic, given.device, dividing([*trained, *judging], given))
    batches, report = Batches(scenes, vae, pairs, given.batch, given.device), Report(given.folder / "decoder.jsonl")
    groups = [
        ParameterGroup("decoder", trained, OPTIMISER.learning_rate),
        ParameterGroup("critic", judging, CRITIC_RATE),
    ]
    loop = Loop(groups, learning, batches, plan, watch=report, device=given.device)
    unseen = _unseen(scenes).to(given.device)
    print(f"before: {_decibels(vae, unseen):.2f} dB", flush=True)
    go_on(loop, given.folder / "decoder-state", given.minutes)
    with loop.averaged():
        print(f"after: {_decibels(vae, unseen):.2f} dB")
        weights["vae"] = weights_of(vae)
    save_checkpoint(given.out, weights, tokens.used(("", *scenes.all_words())), concepts_of(given.start))


def _digest(file: Path) -> str:
    """Tells a model's pairs from another's."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:8]


def _unseen(scenes: Scenes) -> Tensor:
    random = np.random.default_rng(11)
    return tensor_of([_picture(scenes, random)[0] for _ in range(TESTED)])


@torch.no_grad()
def _decibels(vae: Autoencoder, pixels: Tensor) -> float:
    return decibels(vae.decode(vae.encode(pixels)), pixels)


def _given() -> argparse.Namespace:
    parser = stage_parser(__doc__, steps=4000)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--start", type=Path, default=Path("build/tiny/guided.safetensors"))
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    parser.add_argument("--pairs", type=int, default=2000, help="latents to sample from the model, with their pictures")
    return begun(parser)


if __name__ == "__main__":
    main()
