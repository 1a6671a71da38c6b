"""Pictures and their captions, composed of drawings: placed, turned, counted, recoloured, on coloured backgrounds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

import inflect
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from emoji import SIZE, STYLES, Drawings, resized
from recolour import COLOURS, colour_words, main_hue, recolour

__all__ = ["BACKGROUNDS", "COUNTS", "LEAST", "Scene", "Scenes", "compose", "lay", "places"]

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
PLACES = {
    2: ((0.25, 0.5), (0.75, 0.5)),
    3: ((0.26, 0.28), (0.74, 0.28), (0.5, 0.74)),
    4: ((0.26, 0.26), (0.74, 0.26), (0.26, 0.74), (0.74, 0.74)),
}


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
LEAST = 0.8
"""How small a single drawing may be, in parts of the picture."""
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
    """The scene's background with its drawing laid on it as often as it counts, never mirrored: letters would be."""
    picture = np.empty((SIZE, SIZE, 3), np.float32)
    picture[:] = (255, 255, 255) if scene.background is None else BACKGROUNDS[scene.background]
    for x, y, size in _places(scene.count, random, still):
        lay(picture, drawing, x, y, size)
    return picture.round().clip(0, 255).astype(np.uint8)


def _places(count: int, random: Generator, still: bool) -> list[tuple[float, float, int]]:
    if count == 1 and still:
        return [(0.5, 0.5, SIZE)]
    if count == 1:
        size = round(SIZE * random.uniform(LEAST, 1.0))
        slack = (1 - size / SIZE) / 2
        return [(0.5 + random.uniform(-slack, slack), 0.5 + random.uniform(-slack, slack), size)]
    size = round(SIZE * (0.44 if still else random.uniform(0.38, 0.46)))
    return places(count, size)


def places(count: int, size: int) -> list[tuple[float, float, int]]:
    """Where several drawings of a size lie."""
    return [(x, y, size) for x, y in PLACES[count]]


def lay(picture: NDArray[np.float32], drawing: NDArray[np.uint8], x: float, y: float, size: int) -> None:
    """Lay a drawing over the picture with its middle at (x, y), in parts of the picture's sides."""
    small = drawing if size == SIZE else resized(drawing, size)
    left, top = (min(max(round(at * SIZE - size / 2), 0), SIZE - size) for at in (x, y))
    place = picture[top : top + size, left : left + size]
    alpha = small[..., 3:].astype(np.float32) / 255
    place *= 1 - alpha
    place += small[..., : picture.shape[-1]]


def _one(name: str) -> str:
    """One of it: "a cat", "an owl", but "grapes", which go by a plural alone."""
    return name if PLURAL.search(name) else ENGLISH.a(name)


def _plural(name: str) -> str:
    return name if PLURAL.search(name) else ENGLISH.plural(name)
