"""Pictures and their captions, composed of drawings: placed, turned, counted, recoloured, on coloured backgrounds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import inflect
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from emoji import SIZE, STYLES, Drawings, resized
from graphexec.diffusion.types import DOWNSCALE
from recolour import COLOURS, colour_words, main_hue, recolour

__all__ = [
    "BACKGROUNDS",
    "COUNTS",
    "FARTHEST",
    "PLACES",
    "Place",
    "Scene",
    "Scenes",
    "compose",
    "lay",
    "reach",
    "tensor_of",
]

BACKGROUNDS: Mapping[str, tuple[int, int, int]] = {
    "red": (222, 60, 52),
    "orange": (250, 150, 50),
    "yellow": (252, 214, 72),
    "green": (88, 176, 92),
    "blue": (72, 132, 222),
    "purple": (146, 92, 196),
    "pink": (246, 166, 196),
    "brown": (140, 100, 76),
    "gray": (150, 156, 162),
    "black": (28, 28, 32),
}
COUNTS = {2: "two", 3: "three", 4: "four"}
FARTHEST = 2
"""How many latents a single drawing is moved at most."""
VISIBLE = 32


@dataclass(frozen=True, slots=True)
class Place:
    """Where a drawing's upper left corner lies, in latents, and how large it is, in pixels."""

    left: int
    top: int
    size: int = SIZE


def _halves(*corners: tuple[int, int]) -> tuple[Place, ...]:
    return tuple(Place(left, top, SIZE // 2) for left, top in corners)


PLACES: Mapping[int, Sequence[tuple[Place, ...]]] = {
    2: [_halves((0, one), (8, other)) for one in (3, 4, 5) for other in (3, 4, 5)],
    3: [_halves((0, 0), (8, 0), (left, 8)) for left in (2, 3, 4, 5, 6)],
    4: [_halves((0, 0), (8, 0), (0, 8), (8, 8))],
}
"""All ways to lay several drawings."""


ALIASES: Mapping[str, str] = {
    "airplane": "plane",
    "automobile": "car",
    "cheese wedge": "cheese",
    "closed book": "book",
    "crescent moon": "moon",
    "deciduous tree": "tree",
    "evergreen tree": "pine tree",
    "gem stone": "diamond",
    "grinning cat": "smiling cat",
    "hippopotamus": "hippo",
    "honeybee": "bee",
    "hot beverage": "cup of coffee",
    "hourglass done": "hourglass",
    "jack-o-lantern": "pumpkin",
    "lady beetle": "ladybug",
    "locked": "padlock",
    "motorcycle": "motorbike",
    "red apple": "apple",
    "rhinoceros": "rhino",
    "ringed planet": "planet",
    "sailboat": "boat",
    "sauropod": "dinosaur",
    "soccer ball": "football",
    "t-shirt": "shirt",
    "wrapped gift": "gift",
}
"""Words that people use beside Unicode's; nothing else may be called so."""
ENGLISH = inflect.engine()
PLURAL = re.compile(r"[^suio]s$|^skis$")
"""Names of things that are always more than one: scissors, but no octopus, dress or tennis."""
HELD_OUT = 0.1
"""The part of all combinations of a concept with a colour, a count or a background that is never trained on."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Drawings of a concept, `count` of them, in a colour (None: its own), on a background (None: white)."""

    concept: int
    style: int
    count: int = 1
    colour: str | None = None
    background: str | None = None


class Scenes:
    """Random scenes of the drawings, and what they are called."""

    def __init__(self, drawings: Drawings) -> None:
        self.drawings = drawings
        self.concepts = range(len(drawings.names))
        self.hues = [self._hues(i) for i in self.concepts]
        self.colourable = [i for i in self.concepts if self.hues[i][0] is not None]

    def _hues(self, concept: int) -> tuple[float | None, ...]:
        """The main hue in each style; None where there is none, or where the concept's name says a colour."""
        if colour_words(self.drawings.names[concept]):
            return (None,) * len(STYLES)
        return tuple(main_hue(self.drawings.pixels[concept, style]) for style in range(len(STYLES)))

    def held_out(self, scene: Scene) -> bool:
        """Whether a combination is kept for evaluation; a plain picture never is."""
        name = self.drawings.names[scene.concept]
        combined = [(name, str(part)) for part in (scene.colour, scene.background) if part is not None]
        combined += [(name, str(scene.count))] if scene.count > 1 else []
        return any(sha256(" ".join(pair).encode()).digest()[0] < 256 * HELD_OUT for pair in combined)

    def draw(self, random: Generator, plain: float) -> Scene:
        """A random scene of the first style that is not held out; `plain` is the part of single drawings on white."""
        while True:
            scene = self.any(random, plain)
            if not self.held_out(scene):
                return scene

    def any(self, random: Generator, plain: float) -> Scene:
        """As `draw`, but held-out ones too."""
        combined = random.random() >= plain
        kind = random.choice(["background", "colour", "count", "both"]) if combined else ""
        coloured = kind in ("colour", "both")
        concept = int(random.choice(self.colourable if coloured else self.concepts))
        return Scene(
            concept,
            0,
            count=int(random.choice(list(COUNTS))) if kind == "count" else 1,
            colour=str(random.choice(list(COLOURS))) if coloured else None,
            background=str(random.choice(list(BACKGROUNDS))) if kind in ("background", "both") else None,
        )

    def caption(self, scene: Scene, alias: bool = False) -> str:
        """What the scene is called: "two red apples on a blue background"; `alias`: by another name, if it has one."""
        name = self.drawings.names[scene.concept]
        name = ALIASES.get(name, name) if alias else name
        name = name if scene.count == 1 else _plural(name)
        name = name if scene.colour is None else f"{scene.colour} {name}"
        thing = _one(name) if scene.count == 1 else f"{COUNTS[scene.count]} {name}"
        place = "" if scene.background is None else f" on {ENGLISH.a(scene.background)} background"
        return thing + place

    def all_words(self) -> Iterator[str]:
        """Captions that have between them every word of every caption."""
        for concept in self.concepts:
            for count in (1, *COUNTS):
                yield self.caption(Scene(concept, 0, count))
                yield self.caption(Scene(concept, 0, count), alias=True)
        yield from (self.caption(Scene(0, 0, colour=colour)) for colour in COLOURS)
        yield from (self.caption(Scene(0, 0, background=colour)) for colour in BACKGROUNDS)

    def picture(self, scene: Scene, random: Generator, still: bool = False) -> NDArray[np.uint8]:
        """A picture [128, 128, 3] of it; `still` leaves the drawing where it is, else it is placed at random."""
        return compose(self.coloured(scene), scene, random, still)

    def coloured(self, scene: Scene) -> NDArray[np.uint8]:
        """The scene's drawing [128, 128, 4], colours multiplied by alpha."""
        drawing = self.drawings.pixels[scene.concept, scene.style]
        hue = self.hues[scene.concept][scene.style]
        if scene.colour is None:
            return drawing
        if hue is None:
            raise ValueError(f"the drawing of {self.drawings.names[scene.concept]!r} has no colour of its own")
        return recolour(drawing, hue, scene.colour)


def compose(drawing: NDArray[np.uint8], scene: Scene, random: Generator, still: bool) -> NDArray[np.uint8]:
    """The scene's background with its drawing laid on it as often as it counts, never mirrored: letters would be.

    Drawings lie on whole latents, as large as they are drawn or half as large: so their latents are the same wherever
    they lie, and a UNet that is told one has to move it alone.
    """
    picture = np.empty((SIZE, SIZE, 3), np.float32)
    picture[:] = (255, 255, 255) if scene.background is None else BACKGROUNDS[scene.background]
    for place in _places(drawing, scene.count, random, still):
        lay(picture, drawing, place)
    return picture.round().clip(0, 255).astype(np.uint8)


def _places(drawing: NDArray[np.uint8], count: int, random: Generator, still: bool) -> Sequence[Place]:
    if count == 1 and still:
        return [Place(0, 0)]
    if count == 1:
        (left, right), (up, down) = reach(drawing)
        return [Place(int(random.integers(-left, right + 1)), int(random.integers(-up, down + 1)))]
    ways = PLACES[count]
    return ways[int(random.integers(len(ways)))]


def reach(drawing: NDArray[np.uint8]) -> tuple[tuple[int, int], tuple[int, int]]:
    """How many latents a drawing can go to the left and right, and up and down, and still be seen whole."""
    visible = drawing[..., 3] > VISIBLE
    across, along = visible.any(axis=0), visible.any(axis=1)
    return (_room(across), _room(across[::-1])), (_room(along), _room(along[::-1]))


def _room(visible: NDArray[np.bool_]) -> int:
    """Whole latents before the first that is visible; what a pixel of an edge leaves of one is whole enough."""
    return min((int(visible.argmax()) + 1) // DOWNSCALE, FARTHEST)


def lay(picture: NDArray[np.float32], drawing: NDArray[np.uint8], place: Place) -> None:
    """Lay a drawing over the picture; what goes beyond its sides is cut off."""
    small = drawing if place.size == SIZE else resized(drawing, place.size)
    left, top = DOWNSCALE * place.left, DOWNSCALE * place.top
    small = small[max(-top, 0) : SIZE - top, max(-left, 0) : SIZE - left]
    under = picture[max(top, 0) : top + place.size, max(left, 0) : left + place.size]
    alpha = small[..., 3:].astype(np.float32) / 255
    under *= 1 - alpha
    under += small[..., : picture.shape[-1]]


def tensor_of(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Pictures [H, W, 3] as the autoencoder takes them, [B, 3, H, W] in -1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _one(name: str) -> str:
    """One of it: "a cat", "an owl", but "grapes", which go by a plural alone."""
    return name if PLURAL.search(name) else ENGLISH.a(name)


def _plural(name: str) -> str:
    return name if PLURAL.search(name) else ENGLISH.plural(name)
