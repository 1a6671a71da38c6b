"""What inputs of picture nodes measure: sides, offsets, margins, colors, and how to resample."""

from __future__ import annotations

from typing import Annotated, Literal

from graphexec.node.fields import Range, Widget

Side = Annotated[int, Range(ge=1, le=16_384), Widget(step=1)]
Cells = Annotated[int, Range(ge=0, le=16_384), Widget(step=1)]
"""A side that may follow from another one, an offset, a margin."""

EvenCells = Annotated[int, Range(ge=0, le=16_384), Widget(step=8)]
"""Pixels that latents can follow."""

Color = Annotated[int, Range(ge=0, le=0xFFFFFF), Widget(step=1)]
"""0xRRGGBB."""

PictureMethod = Literal["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
Cropped = Literal["disabled", "center"]
