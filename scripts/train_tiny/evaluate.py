"""How well the small model draws: what a judge sees, how near it comes to the drawings, how much seeds change.

python scripts/train_tiny/evaluate.py --sheet sheet.png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import graphexec
from checkpoint import CHECKPOINT, concepts_of, networks_of, read_checkpoint
from emoji import SIZE, drawings
from guided import CFG
from judge import Judge
from nearness import distance, sharpness
from pairs import STEPS
from scenes import Scene, Scenes

THINGS, COMBINED, SEEDS = 100, 100, 8
SHEET = (
    "a red apple", "a smiling cat", "a blue car on a yellow background", "a tiger", "a rocket", "two bananas",
    "a pizza on a blue background", "a purple octopus", "a house", "a green dinosaur", "a guitar", "a rose",
)  # fmt: skip


class Painter:
    """Pictures of the checkpoint, which lies in the folder `checkpoints` of a folder of models, by a workflow."""

    def __init__(self, checkpoint: Path) -> None:
        self.folders = graphexec.Folders.standard([checkpoint.parent.parent])
        self.name = checkpoint.name
        self.context = graphexec.Context(cache=graphexec.MemoryCache(2**24))

    def __call__(self, prompt: str, seed: int, count: int = 1) -> Tensor:
        """[count, 128, 128, 3] in 0..1."""
        plan = graphexec.compile(self._workflow(prompt, seed, count), folders=self.folders, targets=["decode"])
        return graphexec.run(plan, self.context).value("decode")

    def _workflow(self, prompt: str, seed: int, count: int) -> dict[str, Any]:
        def node(kind: str, **inputs: object) -> dict[str, Any]:
            return {"class_type": kind, "inputs": inputs}

        sampling = {"seed": seed, "steps": STEPS, "cfg": CFG, "sampler_name": "euler_ancestral", "scheduler": "karras"}
        return {
            "file": node("CheckpointLoaderSimple", ckpt_name=self.name),
            "wanted": node("CLIPTextEncode", text=prompt, clip=["file", 1]),
            "empty": node("CLIPTextEncode", text="", clip=["file", 1]),
            "latent": node("EmptyLatentImage", width=SIZE, height=SIZE, batch_size=count),
            "sample": node(
                "KSampler", model=["file", 0], positive=["wanted", 0], negative=["empty", 0],
                latent_image=["latent", 0], denoise=1.0, **sampling,
            ),
            "decode": node("VAEDecode", samples=["sample", 0], vae=["file", 2]),
        }  # fmt: skip


def plain_scenes(learned: Sequence[int], count: int) -> list[Scene]:
    """Concepts that were trained, on white."""
    random = np.random.default_rng(4)
    return [Scene(int(i), 0) for i in random.permutation(learned)[:count]]


def combined_scenes(scenes: Scenes, learned: Sequence[int], count: int) -> list[Scene]:
    """Combinations of such a concept with a colour, count or background that were not trained."""
    random, found = np.random.default_rng(5), list[Scene]()
    while len(found) < count:
        scene = scenes.any(random, plain=0.0)
        found += [scene] if scene.concept in learned and scenes.held_out(scene) else []
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """Pictures [N, 128, 128, 3], and what was asked for."""

    pictures: Tensor
    asked: Sequence[Scene]


def judged(judge: Judge, exams: Mapping[str, Exam]) -> dict[str, dict[str, float]]:
    """The part of each exam's pictures that show what was asked for, in each regard and in all."""
    verdicts = iter(judge(torch.cat([exam.pictures for exam in exams.values()])))
    return {name: _shares([judge.right(next(verdicts), scene) for scene in exam.asked]) for name, exam in exams.items()}


def _shares(answers: Sequence[Mapping[str, bool]]) -> dict[str, float]:
    shares = {regard: float(np.mean([answer[regard] for answer in answers])) for regard in answers[0]}
    return {**shares, "all": float(np.mean([all(answer.values()) for answer in answers]))}


def painted(paint: Painter, scenes: Scenes, asked: Sequence[Scene]) -> Tensor:
    """A picture of each scene, [N, 128, 128, 3], each by a seed of its own."""
    captions = [scenes.caption(scene) for scene in asked]
    return torch.cat([paint(caption, seed=1000 + i) for i, caption in enumerate(tqdm(captions, desc="painting"))])


def rendered(scenes: Scenes, asked: Sequence[Scene], random: Generator) -> Tensor:
    """The scenes as they are trained on, placed anew, [N, 128, 128, 3] in 0..1."""
    return torch.from_numpy(np.stack([scenes.picture(scene, random) for scene in asked])).float() / 255


def spread(pictures: Tensor) -> float:
    """The mean root-mean-square distance between any two of [N, H, W, 3]."""
    flat = pictures.flatten(1)
    apart = torch.cdist(flat, flat) / flat.shape[1] ** 0.5
    return float(apart.sum() / (len(flat) * (len(flat) - 1)))


def seeds_and_drawings(paint: Painter, scenes: Scenes, concepts: Sequence[int]) -> tuple[float, float]:
    """The spread of a concept's pictures over seeds, and that of its training drawings, as they were placed."""
    made, drawn = list[float](), list[float]()
    for concept in tqdm(concepts, desc="seeds"):
        made.append(spread(paint(scenes.caption(Scene(concept, 0)), 7, SEEDS)))
        random = np.random.default_rng((6, concept))
        drawn.append(spread(rendered(scenes, [Scene(concept, 0)] * SEEDS, random)))
    return float(np.mean(made)), float(np.mean(drawn))


def nearness(scenes: Scenes, checkpoint: Path, painted: Exam, rendered: Exam) -> dict[str, dict[str, float]]:
    """How far from the nearest rendering pictures are on the whole, and how sharp beside renderings: the model's, and
    renderings through its autoencoder."""
    shown = {"pictures": painted.pictures, "autoencoder": through_autoencoder(checkpoint, rendered.pictures)}
    apart = {
        name: [distance(scenes, *pair) for pair in zip(pictures, painted.asked, strict=True)]
        for name, pictures in shown.items()
    }
    return {
        "distances": {name: float(np.mean(distances)) for name, distances in apart.items()},
        "sharpness": {name: sharpness(pictures) / sharpness(rendered.pictures) for name, pictures in shown.items()},
    }


@torch.no_grad()
def through_autoencoder(checkpoint: Path, pictures: Tensor) -> Tensor:
    """Pictures [N, 128, 128, 3] as they come back."""
    vae = networks_of({"vae": read_checkpoint(checkpoint)["vae"]})["vae"]
    pixels = pictures.permute(0, 3, 1, 2) * 2 - 1
    back = torch.cat([vae.decode(vae.encode(some)) for some in pixels.split(10)]).clamp(-1, 1) / 2 + 0.5
    return back.permute(0, 2, 3, 1)


def sheet(paint: Painter, file: Path) -> None:
    """Four seeds of each of a dozen prompts, side by side."""
    rows = [paint(prompt, 42, 4) for prompt in SHEET]
    columns = [torch.cat(list(row), dim=0) for row in rows]
    pixels = torch.cat(columns, dim=1)
    Image.fromarray((pixels * 255).round().byte().numpy()).save(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/tiny"))
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--things", type=int, default=THINGS, help="how many are asked for on white")
    given = parser.parse_args()
    scenes, paint = Scenes(drawings(given.folder)), Painter(given.checkpoint)
    learned = [scenes.drawings.names.index(name) for name in concepts_of(given.checkpoint)]
    exams = dict[str, Exam]()
    for name, asked in (
        ("concepts", plain_scenes(learned, given.things)), ("combinations", combined_scenes(scenes, learned, COMBINED)),
    ):  # fmt: skip
        exams[name] = Exam(painted(paint, scenes, asked), asked)
        exams[f"renderings of {name}"] = Exam(rendered(scenes, asked, np.random.default_rng(9)), asked)
    figures: dict[str, Any] = {**judged(Judge(scenes), exams)}
    figures |= nearness(scenes, given.checkpoint, exams["concepts"], exams["renderings of concepts"])
    some = [scene.concept for scene in plain_scenes(learned, 20)]
    figures["spread of seeds"], figures["spread of drawings"] = seeds_and_drawings(paint, scenes, some)
    print(json.dumps(figures, indent=2))
    if given.sheet:
        sheet(paint, given.sheet)


if __name__ == "__main__":
    main()
