"""What part of a picture is seen, and how: cut, flipped, with other colours. No pixels are read here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from graphexec.train.data.faults import DataError, listed
from graphexec.train.data.pictures import Data, Picture

__all__ = ["View", "drawn_view", "plain_view", "refuse_caching", "size_condition"]

COLOR_CHANCE = 0.33
MOST_HUE = 8 / 180
"""Of a turn of the colour circle; sd-scripts' 8 is in OpenCV's half degrees."""
MOST_GAMMA = 0.05


@dataclass(frozen=True, slots=True)
class View:
    """The bucket's size is cut from the resized picture at (left, top), then mirrored if `flipped`."""

    left: int
    top: int
    flipped: bool = False
    hue: float = 0.0
    """Turns of the colour circle."""
    gamma: float = 1.0


def plain_view(picture: Picture) -> View:
    """The middle."""
    across, down = _spare(picture)
    return View(across // 2, down // 2)


def drawn_view(picture: Picture, draw: Random) -> View:
    """As the picture's augmentation allows; a picture without any is seen as by `plain_view`.

    Colours change in a third of all uses: the hue by up to 16 degrees or the brightness by a gamma of 0.95 to 1.05. (In
    sd-scripts' own version of that, gamma acts on 0..255, where 1.05 burns out a third of the range; here on 0..1.)
    """
    augment, view = picture.subset.augment, plain_view(picture)
    if augment.flip:
        view = replace(view, flipped=draw.random() < 0.5)
    if augment.random_crop:
        across, down = _spare(picture)
        view = replace(view, left=draw.randint(0, across), top=draw.randint(0, down))
    if augment.color and draw.random() < COLOR_CHANCE:
        if draw.random() < 0.5:
            return replace(view, hue=draw.uniform(-MOST_HUE, MOST_HUE))
        return replace(view, gamma=draw.uniform(1 - MOST_GAMMA, 1 + MOST_GAMMA))
    return view


def size_condition(picture: Picture, view: View) -> Sequence[int]:
    """Original height and width, how much is cut off on top and on the left, the bucket's height and width.

    SDXL is told these (Podell et al. 2023, https://arxiv.org/abs/2307.01952, 2.2). sd-scripts computes the cut for a
    picture fitted inside the bucket, though it trains one that covers it; here it is the cut that was made, in the
    mirrored picture if it is mirrored.
    """
    (width, height), (across, down) = picture.original, picture.fit.bucket
    left = picture.fit.resized[0] - across - view.left if view.flipped else view.left
    return (height, width, view.top, left, down, across)


def refuse_caching(data: Data) -> None:
    """Raise `DataError` if pictures change from use to use in ways that latents made once cannot."""
    changing = [each for each in data.pictures if each.subset.augment.color or each.subset.augment.random_crop]
    if changing:
        folders = sorted({str(each.subset.metadata_file or each.subset.image_dir) for each in changing})
        raise DataError(
            f"latents cannot be cached with color_aug or random_crop, as {listed(folders)} asks for; switch off one "
            "or the other (flip_aug can be cached)"
        )


def _spare(picture: Picture) -> tuple[int, int]:
    """By how much the resized picture is wider and taller than its bucket."""
    (width, height), (across, down) = picture.fit.resized, picture.fit.bucket
    return width - across, height - down
