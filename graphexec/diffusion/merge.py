"""Recipes made of two: weights interpolated, added, subtracted; and attention weights multiplied. Nothing is read.

Interpolating by blocks: as "merge block weighted" of the Stable Diffusion community, a ratio for each part of the UNet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.faults import MergeError, listed
from graphexec.diffusion.types import Clip, MergePatch, Model, Patch, ScalePatch

__all__ = [
    "add",
    "check_families",
    "interpolate",
    "interpolate_blocks",
    "scale",
    "subtract",
    "tell_unmerged",
    "unmerged",
]

RecipeT = TypeVar("RecipeT", Model, Clip)


def interpolate(one: RecipeT, two: RecipeT, ratio: float) -> RecipeT:
    """`ratio` of the first and the rest of the second; `MergeError` if they are of different families."""
    return _mixed(one, two, (("", 1 - ratio, ratio),))


def add(one: RecipeT, two: RecipeT) -> RecipeT:
    """The sum of both, as of a model and a difference; `MergeError` if they are of different families."""
    return _mixed(one, two, (("", 1.0, 1.0),))


def subtract(one: RecipeT, two: RecipeT, multiplier: float = 1.0) -> RecipeT:
    """`multiplier` times what the first has more than the second; `MergeError` if their families differ."""
    return _mixed(one, two, (("", -multiplier, multiplier),))


def interpolate_blocks(one: Model, two: Model, ratios: Mapping[str, float]) -> Model:
    """Interpolate each weight by the ratio of the longest prefix of its name; the first ratio is for all others.

    Raises `MergeError` if the models are of different families.
    """
    first = next(iter(ratios.values()))
    return _mixed(one, two, tuple((name, 1 - ratio, ratio) for name, ratio in {"": first, **ratios}.items()))


def scale(recipe: RecipeT, factors: Mapping[str, float]) -> RecipeT:
    """Multiply weights and biases of the modules whose names end so; a factor of 1 leaves them."""
    changed = tuple((suffix, factor) for suffix, factor in factors.items() if factor != 1)
    return _with(recipe, ScalePatch(changed)) if changed else recipe


def unmerged(one: Model | Clip, two: Model | Clip) -> tuple[str, ...]:
    """The weights of the first that merging leaves as they are, because the second has none of their size.

    An inpainting model merged with another is such a case: its first convolution takes more channels.
    """
    from graphexec.diffusion.pristine import shapes_of

    theirs = shapes_of(two)
    return tuple(name for name, size in shapes_of(one).items() if math.prod(size) != math.prod(theirs.get(name, (0,))))


def tell_unmerged(one: Model | Clip, two: Model | Clip, warn: Callable[[str], None]) -> None:
    """Warn if merging leaves weights as they are."""
    names = unmerged(one, two)
    if names:
        warn(f"{len(names)} weights of the first stay as they are, the second has none of their size: {listed(names)}")


def check_families(one: Model | Clip, two: Model | Clip) -> None:
    """Raise `MergeError` for recipes of different families."""
    if one.family != two.family:
        raise MergeError(
            "models of one family can be merged, these are"
            f" {FAMILIES[one.family].title} and {FAMILIES[two.family].title}"
        )


def _mixed(one: RecipeT, two: RecipeT, ratios: tuple[tuple[str, float, float], ...]) -> RecipeT:
    check_families(one, two)
    untouched = all((strength, own) == (0, 1) for _, strength, own in ratios)
    return one if untouched else _with(one, MergePatch(two, ratios))


def _with(recipe: RecipeT, patch: Patch) -> RecipeT:
    return replace(recipe, patches=(*recipe.patches, patch))
