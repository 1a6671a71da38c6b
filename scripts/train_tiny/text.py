"""Second stage: the text encoder learns every drawing by heart, before the UNet learns to lay drawings out.

A caption has 77 tokens, and the last 64 are filling. From each of them one square of the drawing can be read off
linearly, 2x2 latents and how much of them it covers, and from all the filling how many there are, in what colour and on
what ground. So a new drawing costs the UNet little: it is told what is where, and learns to place, count and recolour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from checkpoint import networks_of, packed_well, read_checkpoint, weights_of
from emoji import SIZE, drawings
from graphexec.train.config import Optimiser, Schedule
from graphexec.train.groups import ParameterGroup
from graphexec.train.loop import Loop, Plan
from layouts import CLIP
from pool import ALIAS, CHUNK
from progress import Report, go_on
from recolour import COLOURS
from scenes import BACKGROUNDS, COUNTS, Scene, Scenes, tensor_of
from stages import begun, dividing, stage_parser
from tokens import END, Tokens, contexts
from whiten import SCALE

SEED = 0
GRID = 8
FIRST = CLIP.positions - GRID * GRID
"""The first token that tells of a square; longest captions end before the fifteenth."""
MAIN = 40
"""Tokens of filling before that tell of the drawing as a whole, by its principal components."""
PLAIN = 0.4
OPTIMISER = Optimiser("Muon", 0.02, arguments={"tables": True})
EMA = 0.99


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """What every drawing looks like: its squares [N, 64, 20], in the order of the tokens, and as a whole [N, 40]."""

    squares: Tensor
    main: Tensor

    def to(self, device: str) -> Looks:
        return Looks(self.squares.to(device), self.main.to(device))


@torch.no_grad()
def looks(scenes: Scenes, encode: Callable[[Tensor], Tensor]) -> Looks:
    """All drawings where they lie, on white; `encode` makes latents [B, 4, 16, 16] of pixels in -1..1."""
    random = np.random.default_rng(SEED)
    squares = list[Tensor]()
    for first in range(0, len(scenes.drawings.names), CHUNK):
        chunk = range(first, min(first + CHUNK, len(scenes.drawings.names)))
        latents = encode(tensor_of([scenes.picture(Scene(i, 0), random, still=True) for i in chunk]))
        covered = torch.from_numpy(scenes.drawings.pixels[chunk.start : chunk.stop, 0, :, :, 3:]).permute(0, 3, 1, 2)
        covered = F.avg_pool2d(covered.float() / 127.5, SIZE // latents.shape[-1])
        squares.append(F.unfold(torch.cat([latents, covered], dim=1), 2, stride=2).mT[:, order()])
    told = torch.cat(squares)
    told -= told.mean(dim=(0, 1))
    return Looks(told, _principal(told.flatten(1)))


def order() -> Tensor:
    """Which square each of the last 64 tokens tells of: those far from the middle, which are mostly white, first, so
    that a prompt whose words take the place of filling loses little."""
    at = torch.arange(GRID) - (GRID - 1) / 2
    return (at[:, None] ** 2 + at[None] ** 2).flatten().argsort(descending=True, stable=True)


def _principal(told: Tensor) -> Tensor:
    """Principal components [N, 40], each by the root of its deviation: small ones tell like things apart."""
    torch.manual_seed(SEED)
    centred = told - told.mean(dim=0)
    _left, sizes, right = torch.pca_lowrank(centred, q=min(MAIN, len(told)), center=False, niter=4)
    parts = centred @ right / (sizes / len(told) ** 0.5).sqrt()
    return parts / parts.std()


def _waves() -> Tensor:
    """Where each of the last 64 tokens' squares lies, as waves of half a turn and of one, [64, 8]."""
    y, x = order() // GRID, order() % GRID
    angles = [torch.pi * turns * (at + 0.5) / GRID for at in (x, y) for turns in (1, 2)]
    return torch.stack([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)


def regards(scene: Scene) -> list[float]:
    """A scene's colour, ground and count, a 1 among zeros for each."""
    known = ((scene.colour, (None, *COLOURS)), (scene.background, (None, *BACKGROUNDS)), (scene.count, (1, *COUNTS)))
    return [float(own == other) for own, others in known for other in others]


REGARDS = len(regards(Scene(0, 0)))


@dataclass(frozen=True, slots=True, eq=False)
class Captions:
    """The numbers of captions' tokens, int64 [B, 77], what each is a picture of, int64 [B], and how, [B, 22]."""

    tokens: Tensor
    concepts: Tensor
    regards: Tensor
    names: Sequence[str]


class CaptionBatches:
    """Batches of captions that are not held out."""

    def __init__(self, scenes: Scenes, tokens: Tokens, batch: int, steps: int) -> None:
        self.scenes, self.tokens, self.batch, self.steps = scenes, tokens, batch, steps

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Captions]:
        for step in range(first, self.steps):
            yield self._drawn(np.random.default_rng((8, epoch, step)))

    def _drawn(self, random: Generator) -> Captions:
        asked = [self.scenes.draw(random, PLAIN) for _ in range(self.batch)]
        captions = [self.scenes.caption(scene, alias=random.random() < ALIAS) for scene in asked]
        how = torch.tensor([regards(scene) for scene in asked])
        concepts = torch.tensor([scene.concept for scene in asked])
        return Captions(self.tokens.stacked(captions), concepts, how - how.mean(dim=0), captions)


class Reading(nn.Module):
    """What is read off the filling, beside what the drawing looks like."""

    def __init__(self, text: nn.Module, known: Looks) -> None:
        super().__init__()
        self.text, self.known = text, known
        self.register_buffer("waves", _waves())
        self.square = nn.Linear(CLIP.width, known.squares.shape[-1])
        self.wave = nn.Linear(CLIP.width, self.waves.shape[-1])
        self.main, self.regards = nn.Linear(CLIP.width, known.main.shape[-1]), nn.Linear(CLIP.width, REGARDS)

    def forward(self, tokens: Tensor, concepts: Tensor, how: Tensor) -> Tensor:
        """The losses [B] of the tokens of captions, of what each is a picture, and how (see `Captions`)."""
        told = contexts(self.text, tokens)
        filling = (tokens == END).float()
        before, last = told[:, :FIRST], told[:, FIRST:]
        squares = (self.square(last) - self.known.squares[concepts]).square().mean(dim=(1, 2))
        waves = (self.wave(last) - self.waves).square().mean(dim=(1, 2))
        how = (self.regards(told) - how[:, None]).square().sum(dim=-1)
        main = (self.main(before) - self.known.main[concepts][:, None]).square().mean(dim=-1)
        return squares + 0.1 * waves + 0.1 * _mean(how, filling) + 0.2 * _mean(main, filling[:, :FIRST])


class Learning:
    """The objective: how far a batch's reading is off, [B]."""

    def __init__(self, reading: Reading, device: str, run: Callable[..., Tensor]) -> None:
        self.reading, self.device, self.run = reading, device, run

    def __call__(self, batch: Captions, generator: torch.Generator) -> Tensor:
        return self.run(self.reading, *(t.to(self.device) for t in (batch.tokens, batch.concepts, batch.regards)))


def _mean(each: Tensor, where: Tensor) -> Tensor:
    """[B], over the tokens where it counts; 0 where none does, as before the last 64 of a caption of thirteen words."""
    return (each * where).sum(dim=1) / where.sum(dim=1).clamp(min=1)


def main() -> None:
    parser = stage_parser(__doc__, steps=5000)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--start", type=Path, help="a checkpoint whose autoencoder to take")
    given = begun(parser)
    scenes, tokens = Scenes(drawings(given.folder)), Tokens()
    autoencoder = read_checkpoint(given.start)["vae"] if given.start else load_file(given.folder / "vae.safetensors")
    made = networks_of({"vae": autoencoder}, given.device)
    known = looks(scenes, lambda pixels: made["vae"].encode(pixels.to(given.device)).cpu() * SCALE)
    reading = Reading(made["text"], known.to(given.device)).to(given.device)
    plan = Plan(given.steps, SEED, ema_decay=EMA, optimiser=OPTIMISER, schedule=Schedule("cosine", warmup=50))
    trained = list(reading.parameters())
    learning = Learning(reading, given.device, dividing(trained, given))
    groups = [ParameterGroup("text", trained, OPTIMISER.learning_rate)]
    batches = CaptionBatches(scenes, tokens, given.batch, given.steps)
    loop = Loop(groups, learning, batches, plan, watch=Report(given.folder / "text.jsonl"), device=given.device)
    go_on(loop, given.folder / "text-state", given.minutes)
    with loop.averaged():
        weights = packed_well(weights_of(made["text"]), tokens.used(scenes.all_words()))
    save_file({name: weight.half() for name, weight in weights.items()}, given.folder / "text.safetensors")


if __name__ == "__main__":
    main()
