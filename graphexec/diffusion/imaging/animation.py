"""Pictures as the frames of one moving file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import count
from typing import Any, Literal

from PIL import Image as Pillow
from torch import Tensor

from graphexec.diffusion.imaging.pixels import PictureError, png_texts, to_pillow

__all__ = ["WebpEffort", "encode_animated_png", "encode_animated_webp"]

WebpEffort = Literal["default", "fastest", "slowest"]
EFFORT: Mapping[WebpEffort, int] = {"default": 4, "fastest": 0, "slowest": 6}

WEBP_SIDE = 16383
"""Pixels that a WebP file takes along one side."""

MODEL_TAG = 0x0110
"""EXIF tag in which ComfyUI keeps the prompt of a WebP file; further texts go into the tags below."""


def encode_animated_png(pictures: Tensor, fps: float, compress_level: int, texts: Mapping[str, str]) -> bytes:
    """Pictures [B,H,W,C] as an animated PNG with text chunks."""
    return _encoded(pictures, "PNG", fps, pnginfo=png_texts(texts), compress_level=compress_level)


def encode_animated_webp(
    pictures: Tensor, fps: float, lossless: bool, quality: int, effort: WebpEffort, texts: Mapping[str, str]
) -> bytes:
    """Pictures [B,H,W,C] as an animated WebP, texts in its EXIF data as ComfyUI writes them (`name:text`).

    Raises PictureError for pictures larger than WebP takes.
    """
    height, width = pictures.shape[1:3]
    if max(height, width) > WEBP_SIDE:
        raise PictureError(
            f"a WebP file takes up to {WEBP_SIDE} pixels a side, these pictures are {width} x {height}; save a PNG"
        )
    exif = Pillow.Exif()
    for tag, (name, text) in zip(count(MODEL_TAG, -1), texts.items(), strict=False):
        exif[tag] = f"{name}:{text}"
    options = {"lossless": lossless, "quality": quality, "method": EFFORT[effort], "exif": exif}
    return _encoded(pictures, "WEBP", fps, **options)


def _encoded(pictures: Tensor, kind: str, fps: float, **options: Any) -> bytes:
    first, *rest = map(to_pillow, pictures)
    stream = io.BytesIO()
    first.save(stream, kind, save_all=True, append_images=rest, duration=int(1000.0 / fps), **options)
    return stream.getvalue()
