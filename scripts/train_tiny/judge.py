"""The judge: names the concept, colour, count and background of a picture by the nearest rendering.

Every drawing is laid wherever scenes have it, and between, four pixels apart, in each colour that it may have, and as
often as it may count; the rendering with the least squared difference, at 32x32 pixels, tells what a picture shows.
Nothing is learned, so nothing can be learned wrongly, and how often it is right about renderings is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from emoji import SIZE
from graphexec.diffusion.types import DOWNSCALE
from recolour import COLOURS, same_hue
from scenes import BACKGROUNDS, COUNTS, FARTHEST, PLACES, Scene, Scenes, lay

__all__ = ["Judge", "Verdict", "farthest", "thumb"]

STEP = 4
SIDE = SIZE // STEP
BORDER = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a picture shows: the likeliest first, each concept once."""

    background: str | None
    likeliest: tuple[Scene, ...]


class Judge:
    """Knows every drawing of the scenes' first style."""

    def __init__(self, scenes: Scenes) -> None:
        self.scenes = scenes
        single = [Scene(i, 0) for i in scenes.concepts]
        single += [Scene(i, 0, colour=colour) for i in scenes.colourable for colour in COLOURS]
        self._single = [(scene, thumb(scenes, scene, STEP)) for scene in tqdm(single, desc="drawing")]
        counted = [Scene(i, 0, count) for i in scenes.concepts for count in COUNTS]
        self._counted = [(scene, self._counts(scene)) for scene in tqdm(counted, desc="counting")]

    def __call__(self, pictures: Tensor) -> list[Verdict]:
        """Verdicts on pictures [N, 128, 128, 3] in 0..1."""
        small = F.avg_pool2d(pictures.permute(0, 3, 1, 2), STEP)
        grounds = [_ground(picture) for picture in small]
        verdicts: dict[int, Verdict] = {}
        for ground in dict.fromkeys(grounds):
            chosen = [i for i, other in enumerate(grounds) if other == ground]
            for i, scenes in zip(chosen, self._nearest(small[chosen], ground), strict=True):
                verdicts[i] = Verdict(ground, scenes)
        return [verdicts[i] for i in range(len(pictures))]

    def right(self, verdict: Verdict, asked: Scene) -> dict[str, bool]:
        """In which regards a verdict is what was asked for."""
        first = verdict.likeliest[0]
        return {
            "top-1": first.concept == asked.concept,
            "top-5": asked.concept in [scene.concept for scene in verdict.likeliest[:5]],
            "colour": first.colour == asked.colour or self._alike(asked.concept, first.colour, asked.colour),
            "count": first.count == asked.count,
            "background": verdict.background == asked.background,
        }

    def _alike(self, concept: int, one: str | None, other: str | None) -> bool:
        """Whether a concept's own colour is the one that is named: a red apple is an apple."""
        named = one or other
        return (one is None or other is None) and named is not None and same_hue(self.scenes.hues[concept][0], named)

    def _nearest(self, pictures: Tensor, ground: str | None) -> list[tuple[Scene, ...]]:
        """The scenes that look like pictures [N, 3, 32, 32] on one ground, the nearest first, each concept once."""
        colour = _colour(ground)
        wanted = (pictures - colour[:, None, None]).flatten(1)
        scenes = [scene for scene, _renderings in (*self._single, *self._counted)]
        found = torch.empty(len(scenes), len(wanted))
        for i, rendered in enumerate(tqdm(self._renderings(), desc="looking", total=len(scenes))):
            found[i] = _least(rendered, colour, wanted)
        return [_each_concept_once([scenes[i] for i in column.tolist()]) for column in found.argsort(dim=0).T]

    def _renderings(self) -> Iterator[Tensor]:
        """All renderings of each scene, [V, 4, 32, 32], colours multiplied by alpha."""
        yield from (_everywhere(small) for _scene, small in self._single)
        yield from (all_ways for _scene, all_ways in self._counted)

    def _counts(self, scene: Scene) -> Tensor:
        """The drawing as often as it counts, in all ways, [V, 4, 32, 32]."""
        drawing, made = self.scenes.coloured(scene), list[Tensor]()
        for places in PLACES[scene.count]:
            picture = np.zeros((SIZE, SIZE, 4), np.float32)
            for place in places:
                lay(picture, drawing, place)
            made.append(_small(picture, STEP))
        return torch.stack(made)


def thumb(scenes: Scenes, scene: Scene, step: int) -> Tensor:
    """The drawing, [4, s, s] in 0..1 (colours times alpha), `step` pixels to a point."""
    return _small(scenes.coloured(scene), step)


def farthest(step: int) -> int:
    """How many points of `step` pixels a single drawing is moved at most, each way."""
    return FARTHEST * DOWNSCALE // step


def _small(drawing: NDArray[np.generic], step: int) -> Tensor:
    """[H, W, 4] of 0..255 as [4, H / step, W / step] in 0..1."""
    return F.avg_pool2d(torch.from_numpy(drawing.astype(np.float32)).permute(2, 0, 1) / 255, step)


def _everywhere(small: Tensor) -> Tensor:
    """A drawing [4, 32, 32] at every place that it may be moved to, [V, 4, 32, 32]."""
    padded = F.pad(small, (farthest(STEP),) * 4)
    windows = padded.unfold(1, SIDE, 1).unfold(2, SIDE, 1)
    return windows.permute(1, 2, 0, 3, 4).reshape(-1, 4, SIDE, SIDE)


def _least(rendered: Tensor, ground: Tensor, wanted: Tensor) -> Tensor:
    """The least squared difference of any rendering to each picture [N, 3 * 32 * 32] without its ground, less the
    picture's own squares."""
    over = (rendered[:, :3] - rendered[:, 3:] * ground[:, None, None]).flatten(1)
    apart = over.square().sum(dim=1, keepdim=True) - 2 * over @ wanted.T
    return apart.amin(dim=0)


def _ground(picture: Tensor) -> str | None:
    """The background that is nearest to the middle colour of the border of a picture [3, 32, 32]."""
    inside = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    seen = picture[:, ~inside].median(dim=1).values
    known: list[str | None] = [None, *BACKGROUNDS]
    return min(known, key=lambda name: float((seen - _colour(name)).square().sum()))


def _colour(ground: str | None) -> Tensor:
    return torch.tensor((255, 255, 255) if ground is None else BACKGROUNDS[ground]) / 255


def _each_concept_once(scenes: Sequence[Scene]) -> tuple[Scene, ...]:
    firsts: dict[int, Scene] = {}
    for scene in scenes:
        firsts.setdefault(scene.concept, scene)
    return tuple(firsts.values())
