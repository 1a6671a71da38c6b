"""Descriptions at places of the picture: GLIGEN's files as recipes, boxes on conditioning, and what a UNet sees."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import Area, Conditioning, Gligen, GroundedBox, Grounding, Model
from graphexec.errors import ModelFileError
from graphexec.lora.header import read_header

if TYPE_CHECKING:
    from torch import Tensor

    from graphexec.diffusion.models.taps import Tap
    from graphexec.diffusion.runtime import Runtime

__all__ = ["grounded", "open_gligen", "place"]

MARK = "position_net.null_positive_feature"
PIXELS = 8
THINGS = 30


def open_gligen(path: Path) -> Gligen:
    """The GLIGEN network for boxes of text in a file; `ModelFileError` if it holds none."""
    shapes = read_header(path).shapes
    if MARK not in shapes or not any(".fuser.linear.weight" in name for name in shapes):
        raise ModelFileError(f"{path}: this is no GLIGEN for boxes of text: there is no {MARK!r} with fusers in it")
    return Gligen(WeightsFile.of(path))


def place(conditioning: Conditioning, net: Gligen, feature: Tensor, area: Area) -> Conditioning:
    """A conditioning with one more thing, described by `feature` [1, C], in `area` (pixels); the last network counts.

    Raises `LatentError` for more things than the networks know.
    """
    box = GroundedBox(feature, area)
    return Conditioning(tuple(replace(c, grounding=_grown(c.grounding, net, box)) for c in conditioning.conds))


@contextmanager
def grounded(runtime: Runtime, grounding: Grounding | None, model: Model, cells: Sequence[int]) -> Generator[list[Tap]]:
    """What lets the UNet of `model`, which works on latents of `cells` (rows, columns), see the things meanwhile.

    Raises `ModelFileError` if the text encoder that described them does not fit.
    """
    import torch

    from graphexec.diffusion.memory import sent
    from graphexec.diffusion.models.gligen import Grounded

    if grounding is None:
        yield []
        return
    rows, columns = cells
    features = torch.cat([box.feature for box in grounding.boxes])
    boxes = torch.tensor([_corners(box.area, rows, columns) for box in grounding.boxes])
    with runtime.gligen(grounding.net, model) as network, torch.no_grad():
        known = len(network.position_net.null_positive_feature)
        if known != features.shape[-1]:
            raise ModelFileError(
                f"{grounding.net.file.path}: this GLIGEN reads text features {known} wide, the text encoder gives"
                f" {features.shape[-1]}: they are of different families"
            )
        yield [Grounded(network, network(sent(features, runtime.device), sent(boxes, runtime.device)))]


def _grown(grounding: Grounding | None, net: Gligen, box: GroundedBox) -> Grounding:
    boxes = (*(grounding.boxes if grounding else ()), box)
    if len(boxes) > THINGS:
        raise LatentError(f"GLIGEN places up to {THINGS} things, this would be number {len(boxes)}")
    return Grounding(net, boxes)


def _corners(area: Area, rows: int, columns: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom in fractions of the latents, on whole cells."""
    x, y, width, height = (int(side) // PIXELS for side in (area.x, area.y, area.width, area.height))
    return x / columns, y / rows, (x + width) / columns, (y + height) / rows
