"""Puts ControlNets on conditioning; no weight is read, and torch is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphexec.diffusion.types import Conditioning, Control, ControlNet

__all__ = ["UNION_TYPES", "steer", "steer_both", "with_union_type"]

UNION_TYPES: Mapping[str, int] = {
    "openpose": 0,
    "depth": 1,
    "hed/pidi/scribble/ted": 2,
    "canny/lineart/anime_lineart/mlsd": 3,
    "normal": 4,
    "segment": 5,
    "tile": 6,
    "repaint": 7,
}
"""The types of control that union ControlNets for SDXL know, by number."""


def with_union_type(net: ControlNet, name: str) -> ControlNet:
    """A union ControlNet told what its pictures are; "auto" tells it nothing."""
    return replace(net, union_type=UNION_TYPES.get(name))


def steer(conditioning: Conditioning, control: Control) -> Conditioning:
    """A conditioning with one more ControlNet, which steers the negative side too unless that has some of its own."""
    if control.strength == 0:
        return conditioning
    return _steered(conditioning, control, uncond=True)


def steer_both(positive: Conditioning, negative: Conditioning, control: Control) -> tuple[Conditioning, Conditioning]:
    """Both sides with one more ControlNet."""
    if control.strength == 0:
        return positive, negative
    return _steered(positive, control, uncond=False), _steered(negative, control, uncond=False)


def _steered(conditioning: Conditioning, control: Control, *, uncond: bool) -> Conditioning:
    conds = conditioning.conds
    return Conditioning(tuple(replace(c, controls=(*c.controls, control), control_uncond=uncond) for c in conds))
