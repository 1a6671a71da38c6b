"""Pictures as bytes of files: PNG out, whatever Pillow reads in."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image as Pillow
from PIL import ImageSequence
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from graphexec.diffusion.imaging.pngs import pixels_only
from graphexec.diffusion.imaging.upright import upright
from graphexec.errors import DAMAGED_PICTURE, GraphexecError, ModelFileError

COMPRESS_LEVEL = 4
"""As ComfyUI: a third larger than the smallest, ten times faster."""

NO_ALPHA_MASK = 64
"""ComfyUI hands a 64×64 mask of zeros to pictures without alpha."""


class PictureError(GraphexecError):
    """A picture has values that no file can hold."""


def encode_png(picture: Tensor, texts: Mapping[str, str]) -> bytes:
    """A picture [H,W,C] of floats in 0..1 as an 8-bit PNG, cut off as ComfyUI does (0.5 is 127), with text chunks.

    Raises PictureError as `to_pillow`.
    """
    stream = io.BytesIO()
    to_pillow(picture).save(stream, "PNG", pnginfo=png_texts(texts), compress_level=COMPRESS_LEVEL)
    return stream.getvalue()


def to_pillow(picture: Tensor) -> Pillow.Image:
    """A picture [H,W,C] in 8 bits, cut off, not rounded.

    Raises PictureError for NaN, infinity, other than 1, 3 or 4 channels, and a picture of no size.
    """
    values = picture.detach().to("cpu", torch.float32).numpy()
    if not np.isfinite(values).all():
        raise PictureError(
            "the picture holds NaN or infinite values; the model or its settings made them, not the file"
        )
    if values.ndim != 3 or values.shape[-1] not in (1, 3, 4) or values.size == 0:
        raise PictureError(f"a picture is [height, width, 1, 3 or 4], this one is {values.shape}")
    pixels = np.clip(values * 255.0, 0, 255).astype(np.uint8)
    return Pillow.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)


def png_texts(texts: Mapping[str, str]) -> PngInfo:
    """Texts as PNG files hold them."""
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    return info


def load_picture(path: Path, most: int | None = None) -> tuple[Tensor, Tensor]:
    """The frames of a picture [B,H,W,3] in 0..1, turned upright, and what its alpha leaves out [B,H,W].

    `most` is how many frames are read at most. Frames of another size than the first are left out, as are the further
    pictures of an MPO file. Raises ModelFileError where Pillow cannot read the file.
    """
    frames = _frames(path, most)
    same = [frame for frame in frames if frame.size == frames[0].size]
    return torch.stack([_color(frame) for frame in same]), _masks(same)


def load_mask(path: Path, channel: Literal["alpha", "red", "green", "blue"]) -> Tensor:
    """One channel of a picture's first frame [1,H,W] in 0..1; of alpha, what it leaves out.

    Raises ModelFileError where Pillow cannot read the file.
    """
    (frame,) = _frames(path, most=1)
    if channel == "alpha":
        return 1.0 - _band(frame.convert("RGBA"), 3)[None]
    return _color(frame)[None, ..., ("red", "green", "blue").index(channel)].contiguous()


def _frames(path: Path, most: int | None = None) -> list[Pillow.Image]:
    try:
        try:
            return _read(path, most)
        except ValueError:  # Pillow refuses long texts, as large workflows are, and all of the picture with them
            return _read(io.BytesIO(pixels_only(path.read_bytes())), most)
    except (*DAMAGED_PICTURE, Pillow.DecompressionBombError) as error:
        raise ModelFileError(f"{path} cannot be read as a picture: {error}") from error


def _read(source: Path | io.BytesIO, most: int | None) -> list[Pillow.Image]:
    with Pillow.open(source) as file:
        sequence = [file] if file.format == "MPO" else ImageSequence.Iterator(file)
        return [upright(frame.copy()) for frame in islice(sequence, most)]


def _color(frame: Pillow.Image) -> Tensor:
    """Grey of 16 bits keeps them (Pillow's conversion saturates); of 32 it is taken for 16 bits and loses half."""
    if frame.mode.startswith("I;16"):
        grey = np.asarray(frame, dtype=np.float32) / 65535.0
        return torch.from_numpy(np.repeat(grey[:, :, None], 3, axis=2))
    shown = frame.point(lambda value: value * (1 / 255)) if frame.mode == "I" else frame
    if _has_transparent_color(frame):
        shown = frame.convert("RGBA")
    return torch.from_numpy(np.asarray(shown.convert("RGB"), dtype=np.float32) / 255.0)


def _masks(frames: Sequence[Pillow.Image]) -> Tensor:
    """Zeros for frames without alpha: of ComfyUI's size where no frame has any."""
    masks = [_mask(frame) for frame in frames]
    known = [mask for mask in masks if mask is not None]
    nothing = torch.zeros_like(known[0]) if known else torch.zeros(NO_ALPHA_MASK, NO_ALPHA_MASK)
    return torch.stack([nothing if mask is None else mask for mask in masks])


def _mask(frame: Pillow.Image) -> Tensor | None:
    """As ComfyUI, a transparent color counts in palettes only."""
    if "A" in frame.getbands():
        return 1.0 - _band(frame, frame.getbands().index("A"))
    return 1.0 - _band(frame.convert("RGBA"), 3) if _has_transparent_color(frame) else None


def _has_transparent_color(frame: Pillow.Image) -> bool:
    return frame.mode == "P" and "transparency" in frame.info


def _band(frame: Pillow.Image, band: int) -> Tensor:
    return torch.from_numpy(np.asarray(frame.getchannel(band), dtype=np.float32) / 255.0)
