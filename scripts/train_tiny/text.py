"""Second stage: the text encoder learns what things look like, before the UNet learns to draw them.

From every token after a caption's end, the colours and the coarse shape of its picture can be read off linearly: so the
UNet has from its first step on contexts that tell what is wanted. Left to learn text and pictures at once, it had not
begun to heed the text after 12,000 pictures of 128 concepts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from checkpoint import networks
from emoji import SIZE, drawings
from graphexec.train.config import Optimiser, Schedule
from graphexec.train.events import Started, Stepped
from graphexec.train.groups import ParameterGroup
from graphexec.train.loop import Loop, Plan
from layouts import CLIP
from pool import ALIAS
from scenes import Scene, Scenes
from tokens import END, Tokens, contexts

SEED = 0
COARSE, PARTS = 16, 64
"""Pictures are seen at 16x16 pixels, through their first 64 principal components."""
SHORT, SHORT_PART = 24, 0.9
"""Nine tenths of the steps are taken on the first 24 tokens alone, a third of the work: what follows is all padding."""
OPTIMISER = Optimiser("AdamW", 3e-3, arguments={"betas": (0.9, 0.98), "weight_decay": 0.01})


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """Scenes, every concept on white first, and what their pictures look like, float32 [N, 64]."""

    scenes: Sequence[Scene]
    looks: Tensor
    plain: int


@dataclass(frozen=True, slots=True, eq=False)
class Captions:
    """The numbers of captions' tokens, int64 [B, T], and what their pictures look like, [B, 64]."""

    tokens: Tensor
    looks: Tensor
    names: Sequence[str]


def describe(scenes: Scenes, size: int) -> Described:
    """`size` scenes with still drawings, so that what is seen is shape and not place."""
    random = np.random.default_rng(11)
    asked = [Scene(concept, 0) for concept in range(len(scenes.drawings.names))]
    plain = len(asked)
    asked += [scenes.draw(random, plain=0.0) for _ in range(size - plain)]
    step = SIZE // COARSE
    seen = np.empty((size, COARSE, COARSE, 3), np.float32)
    for i, scene in enumerate(tqdm(asked, desc="looking")):
        picture = scenes.picture(scene, random, still=True)
        seen[i] = picture.reshape(COARSE, step, COARSE, step, 3).mean((1, 3)) / 127.5 - 1
    return Described(asked, _principal(torch.from_numpy(seen).flatten(1)), plain)


def _principal(pictures: Tensor) -> Tensor:
    """Their principal components, each by the root of its deviation: small ones tell like things apart."""
    torch.manual_seed(SEED)
    centred = pictures - pictures.mean(dim=0)
    _left, sizes, right = torch.pca_lowrank(centred, q=PARTS, center=False, niter=4)
    parts = centred @ right / (sizes / len(pictures) ** 0.5).sqrt()
    return parts / parts.std()


class CaptionBatches:
    """Half of each batch are concepts on white, half are composed."""

    def __init__(self, scenes: Scenes, known: Described, tokens: Tokens, batch: int, steps: int) -> None:
        self.scenes, self.known, self.tokens, self.batch, self.steps = scenes, known, tokens, batch, steps

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Captions]:
        for step in range(first, self.steps):
            yield self._drawn(np.random.default_rng((8, epoch, step)), step < SHORT_PART * self.steps)

    def _drawn(self, random: Generator, short: bool) -> Captions:
        half, plain = self.batch // 2, self.known.plain
        chosen = np.concatenate(
            [random.integers(0, plain, half), random.integers(plain, len(self.known.scenes), self.batch - half)]
        )
        captions = [self.scenes.caption(self.known.scenes[i], alias=random.random() < ALIAS) for i in chosen]
        tokens = self.tokens.stacked(captions)
        return Captions(tokens[:, :SHORT] if short else tokens, self.known.looks[torch.from_numpy(chosen)], captions)


class Reading:
    """The objective: looks, read off every token from the caption's end on."""

    def __init__(self, text: nn.Module, head: nn.Module) -> None:
        self.text, self.head = text, head

    def __call__(self, batch: Captions, generator: torch.Generator) -> Tensor:
        errors = (self.read(batch.tokens) - batch.looks[:, None]).square().mean(dim=-1)
        after = (batch.tokens == END).float()
        return (errors * after).sum(dim=1) / after.sum(dim=1)

    def read(self, tokens: Tensor) -> Tensor:
        """What every token of [B, T] tells, [B, T, 64]."""
        return self.head(contexts(self.text, tokens))


@torch.no_grad()
def told_apart(reading: Reading, scenes: Scenes, known: Described, tokens: Tokens) -> float:
    """The part of concepts whose own look is the nearest to what is read off their caption."""
    asked = tokens.stacked([scenes.caption(scene) for scene in known.scenes[: known.plain]])
    nearest = torch.cdist(reading.read(asked)[:, -1], known.looks[: known.plain]).argmin(dim=1)
    return (nearest == torch.arange(known.plain)).float().mean().item()


def main() -> None:
    given = _arguments()
    torch.set_num_threads(given.threads)
    scenes, tokens = Scenes(drawings(given.folder)), Tokens()
    known = describe(scenes, given.scenes)
    text, head = networks(SEED)["text"], nn.Linear(CLIP.width, PARTS)
    reading = Reading(text, head)
    plan = Plan(given.steps, SEED, optimiser=OPTIMISER, schedule=Schedule("cosine", warmup=100))
    groups = [ParameterGroup("text", [*text.parameters(), *head.parameters()], OPTIMISER.learning_rate)]
    batches = CaptionBatches(scenes, known, tokens, given.batch, given.steps)
    shown = tqdm(total=given.steps, desc="text")

    def watch(event: Started | Stepped) -> None:
        if isinstance(event, Stepped):
            shown.update()
            shown.set_postfix(loss=f"{event.loss:.3f}")

    for _moment in Loop(groups, reading, batches, plan, watch=watch).run():
        pass
    shown.close()
    save_file(dict(text.state_dict()), given.folder / "text.safetensors")
    print(f"{told_apart(reading, scenes, known, tokens):.1%} of the concepts are told apart by their captions")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/tiny"))
    parser.add_argument("--scenes", type=int, default=12_000)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
