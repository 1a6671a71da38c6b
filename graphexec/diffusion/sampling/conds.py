"""Conds made ready for a sampling run: where, when and how strongly each counts, and what the UNet is shown of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from graphexec.diffusion.imaging.batches import as_masks
from graphexec.diffusion.sampling.discrete import ModelSampling
from graphexec.diffusion.types import DOWNSCALE, Area, Cond, Conditioning, Control, Grounding, Region

__all__ = ["Box", "Prepared", "prepare", "share_areas", "share_controls"]

SMALLEST_BOUNDS = 8
TOLD = ("embedding", "pooled", "size", "control_embedding", "inpaint")
"""What of a cond a network is told."""
FADE = 8
"""Cells over which an area's weight falls towards the inner edges of the picture."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of latent cells."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, x: Tensor) -> Tensor:
        """The part of x [..., h, w] inside."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def holds(self, other: Box) -> bool:
        """Whether `other` lies inside."""
        return (
            other.top >= self.top
            and other.left >= self.left
            and other.top + other.height <= self.top + self.height
            and other.left + other.width <= self.left + self.width
        )


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A cond for latents of one size: it counts by `weight` ([B or 1, 1, h, w]; None: 1) inside `box` (None: all).

    It takes part from the noise level `highest` down to `lowest`, and in the `span` of levels its text was encoded for,
    whose end is not included.
    """

    cond: Cond
    box: Box | None
    weight: Tensor | None
    highest: float
    lowest: float
    span: tuple[float, float]
    controls: tuple[Control, ...]
    grounding: Grounding | None

    def active(self, sigma: float) -> bool:
        """Whether it takes part at a noise level."""
        return self.lowest <= sigma <= self.highest and self.span[1] < sigma <= self.span[0]


def prepare(conditioning: Conditioning, levels: ModelSampling, like: Tensor) -> list[Prepared]:
    """The conds of a conditioning for latents like [B, C, h, w]."""
    return [_prepared(cond, levels, like) for cond in conditioning.conds]


def share_areas(lists: Sequence[list[Prepared]]) -> None:
    """Give each list a cond for every area of another list: guidance there compares like with like.

    What the networks are told is that of the list's own smallest cond around the area.
    """
    for own in lists:
        for other in lists:
            if other is not own:
                for cond in list(own):
                    _share_area(other, cond)


def share_controls(positive: Sequence[Prepared], negative: list[Prepared]) -> None:
    """Apply ControlNets that steer both sides to the negative conds too, and the things that GLIGEN places.

    Each only where the negative conds have none of their own.
    """
    whole = [c for c in positive if c.box is None]
    steered = [c for c in whole if c.controls and c.cond.control_uncond]
    _share(steered, negative, lambda c: bool(c.controls), lambda c, other: replace(c, controls=other.controls))
    grounded = [c for c in whole if c.grounding]
    _share(grounded, negative, lambda c: bool(c.grounding), lambda c, other: replace(c, grounding=other.grounding))


def _share(
    found: Sequence[Prepared],
    negative: list[Prepared],
    has: Callable[[Prepared], bool],
    put: Callable[[Prepared, Prepared], Prepared],
) -> None:
    """Give to the negative conds of the whole picture, in turn, what is found: of several for one, the last."""
    whole = [i for i, c in enumerate(negative) if c.box is None]
    if any(has(negative[i]) for i in whole) or not whole:
        return
    for n, other in enumerate(found):
        i = whole[n % len(whole)]
        negative[i] = put(negative[i], other)


def _prepared(cond: Cond, levels: ModelSampling, like: Tensor) -> Prepared:
    mask = _fit_mask(cond.region, like)
    box = _box(cond.area, like) if cond.area else None
    if cond.region and cond.region.to_bounds and mask is not None:
        box = _bounds(mask, like)
    return Prepared(
        cond=cond,
        box=box,
        weight=_weight(cond, box, mask, like),
        highest=levels.percent_to_sigma(cond.start),
        lowest=levels.percent_to_sigma(cond.end),
        span=(levels.percent_to_sigma(cond.span[0]), levels.percent_to_sigma(cond.span[1])),
        controls=cond.controls,
        grounding=cond.grounding,
    )


def _share_area(conds: list[Prepared], other: Prepared) -> None:
    if other.box is None:
        return
    around = [c for c in conds if c.box is None or c.box.holds(other.box)]
    if not around:
        return
    smallest = min(around, key=lambda c: math.inf if c.box is None else c.box.height * c.box.width)
    if smallest.box != other.box:
        told = {name: getattr(smallest.cond, name) for name in TOLD}
        conds.append(replace(other, cond=replace(other.cond, **told)))


def _box(area: Area, like: Tensor) -> Box:
    """The area in cells, kept inside the latents."""
    rows, columns = like.shape[-2:]
    if area.relative:
        height, width = max(1, round(area.height * rows)), max(1, round(area.width * columns))
        top, left = round(area.y * rows), round(area.x * columns)
    else:
        height, width, top, left = (int(v) // DOWNSCALE for v in (area.height, area.width, area.y, area.x))
    top, left = min(top, rows - 1), min(left, columns - 1)
    return Box(top, left, max(1, min(height, rows - top)), max(1, min(width, columns - left)))


def _bounds(mask: Tensor, like: Tensor) -> Box:
    """The box around what a mask [B, 1, h, w] selects in any of its pictures."""
    rows, columns = like.shape[-2:]
    places = mask.abs().amax(dim=(0, 1)).nonzero().tolist()
    if not places:
        return Box(0, 0, min(SMALLEST_BOUNDS, rows), min(SMALLEST_BOUNDS, columns))
    top, left = min(y for y, _ in places), min(x for _, x in places)
    height = max(SMALLEST_BOUNDS, max(y for y, _ in places) - top + 1)
    width = max(SMALLEST_BOUNDS, max(x for _, x in places) - left + 1)
    return Box(top, left, min(height, rows - top), min(width, columns - left))


def _fit_mask(region: Region | None, like: Tensor) -> Tensor | None:
    """The region's mask at the latents' size: [B, 1, h, w]."""
    if region is None:
        return None
    planes = as_masks(region.mask)[:, None].to(like)
    if planes.shape[-2:] != like.shape[-2:]:
        planes = F.interpolate(planes, size=like.shape[-2:], mode="bilinear", align_corners=False)
    return planes


def _weight(cond: Cond, box: Box | None, mask: Tensor | None, like: Tensor) -> Tensor | None:
    if mask is not None and cond.region is not None:
        planes = mask.repeat(-(-len(like) // len(mask)), 1, 1, 1)[: len(like)]
        return (box.cut(planes) if box else planes) * (cond.region.strength * cond.strength)
    if box is not None:
        return _faded(box, like) * cond.strength
    return None if cond.strength == 1.0 else torch.full((1, 1, 1, 1), cond.strength, device=like.device)


def _faded(box: Box, like: Tensor) -> Tensor:
    """1 inside, falling to the edges that are not the picture's own."""
    rows, columns = like.shape[-2:]
    down = _ramp(box.height, box.top > 0, box.top + box.height < rows)
    right = _ramp(box.width, box.left > 0, box.left + box.width < columns)
    return (down[:, None] * right[None, :])[None, None].to(like)


def _ramp(length: int, at_start: bool, at_end: bool) -> Tensor:
    weights, fade = torch.ones(length), min(FADE, length // 4)
    rising = torch.arange(1, fade + 1) / fade if fade else torch.ones(0)
    if at_start:
        weights[:fade] *= rising
    if at_end:
        weights[length - fade :] *= rising.flip(0)
    return weights
