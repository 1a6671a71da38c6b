"""The judge: a small network that names the concept, colour, count and background of a picture.

It learns from scenes of its own seeds, and its own accuracy on further scenes is printed: nothing made can be judged
more surely than that.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange

from emoji import STYLES, drawings
from scenes import BACKGROUNDS, COUNTS, Scene, Scenes

__all__ = ["HEADS", "Judge", "labels", "load_judge"]

HEADS = {
    "colour": [None, "red", "orange", "yellow", "green", "blue", "purple"],
    "count": [1, *COUNTS],
    "background": [None, *BACKGROUNDS],
}
BATCH, RATE = 64, 2e-3


class Judge(nn.Module):
    """Pictures [B, 3, 128, 128] in -1..1 to the logits of each head."""

    def __init__(self, concepts: int) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 256)
        self.body = nn.Sequential(
            nn.AvgPool2d(2),
            *(
                nn.Sequential(
                    nn.Conv2d(i, o, 3, stride=2, padding=1),
                    nn.BatchNorm2d(o),
                    nn.SiLU(),
                    nn.Conv2d(o, o, 3, padding=1, groups=o),
                    nn.Conv2d(o, o, 1),
                    nn.BatchNorm2d(o),
                    nn.SiLU(),
                )
                for i, o in itertools.pairwise(widths)
            ),
        )
        sizes = {"concept": concepts, **{name: len(values) for name, values in HEADS.items()}}
        self.heads = nn.ModuleDict({name: nn.Linear(256 * 5, size) for name, size in sizes.items()})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        maps = self.body(pictures)
        features = torch.cat([maps.amax(dim=(2, 3)), F.adaptive_avg_pool2d(maps, 2).flatten(1)], dim=1)
        return {name: head(features) for name, head in self.heads.items()}


def labels(scene: Scene) -> dict[str, int]:
    """The right answers for a scene."""
    return {
        "concept": scene.concept,
        "colour": HEADS["colour"].index(scene.colour),
        "count": HEADS["count"].index(scene.count),
        "background": HEADS["background"].index(scene.background),
    }


def load_judge(file: Path, concepts: int) -> Judge:
    judge = Judge(concepts)
    judge.load_state_dict(torch.load(file, weights_only=True))
    return judge.eval()


def scene_batch(scenes: Scenes, stream: int, step: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Random scenes, held-out combinations among them: the judge is to know them all."""
    random = np.random.default_rng((3, stream, step))
    drawn = [scenes.any(random, 0.4, len(STYLES)) for _ in range(BATCH)]
    pictures = np.stack([scenes.picture(scene, random) for scene in drawn])
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    answers = [labels(scene) for scene in drawn]
    return pixels, {name: torch.tensor([answer[name] for answer in answers]) for name in answers[0]}


def train(scenes: Scenes, steps: int, device: str) -> Judge:
    torch.manual_seed(0)
    judge = Judge(len(scenes.drawings.names)).to(device)
    optimiser = torch.optim.AdamW(judge.parameters(), RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for step in (shown := trange(steps, desc="judge")):
        pixels, answers = scene_batch(scenes, 0, step)
        pixels = pixels + 0.1 * torch.randn(pixels.shape) * torch.rand(len(pixels), 1, 1, 1)
        found = judge(pixels.to(device))
        loss = sum(F.cross_entropy(found[name], answers[name].to(device)) for name in answers)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            shown.set_postfix(loss=f"{loss.item():.3f}")
    return judge.eval()


@torch.no_grad()
def accuracy(judge: Judge, scenes: Scenes, device: str, batches: int = 16) -> dict[str, float]:
    """How often each head is right on scenes that it has not seen."""
    right: dict[str, list[Tensor]] = {}
    for step in range(batches):
        pixels, answers = scene_batch(scenes, 1, step)
        for name, logits in judge(pixels.to(device)).items():
            right.setdefault(name, []).append((logits.argmax(dim=1).cpu() == answers[name]).float())
    return {name: torch.cat(hits).mean().item() for name, hits in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/tiny"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    scenes = Scenes(drawings(given.folder))
    judge = train(scenes, given.steps, given.device)
    torch.save(judge.cpu().state_dict(), given.folder / "judge.pt")
    print({name: f"{share:.1%}" for name, share in accuracy(judge.to(given.device), scenes, given.device).items()})


if __name__ == "__main__":
    main()
