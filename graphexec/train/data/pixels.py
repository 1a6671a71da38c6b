"""A picture as it is trained: upright, resized, cut, mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from graphexec.diffusion.imaging.pixels import load_picture
from graphexec.train.data.pictures import Picture
from graphexec.train.data.resize import resized
from graphexec.train.data.views import View

__all__ = ["Seen", "seen"]

Pixels = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Seen:
    """Pixels [3, H, W] in -1..1; the mask [1, H, W] in 0..1 weighs the loss and is None where all counts."""

    pixels: Tensor
    mask: Tensor | None


def seen(picture: Picture, view: View) -> Seen:
    """A picture in one view. Raises `ModelFileError`, which names the file, if it is damaged.

    With alpha masks colours are what the file holds. Without, transparent parts are white: sd-scripts drops alpha,
    which trains colours that nobody sees.
    """
    pixels = resized(_pixels(picture), picture.fit.resized)
    (width, height), left, top = picture.fit.bucket, view.left, view.top
    cut = pixels[top : top + height, left : left + width]
    cut = np.ascontiguousarray(cut[:, ::-1] if view.flipped else cut)
    color = torch.from_numpy(_colored(cut[..., :3], view)).movedim(-1, 0) * 2 - 1
    mask = torch.from_numpy(cut[..., 3].copy())[None] if picture.subset.alpha_mask else None
    return Seen(color.contiguous(), mask)


def _pixels(picture: Picture) -> Pixels:
    """[H, W, 3] in 0..1, or [H, W, 4] with the alpha that is to be the mask."""
    frames, left_out = load_picture(picture.path, most=1)
    color = frames[0].numpy()
    # Pictures without alpha come with an empty mask of another size.
    hidden = left_out[0].numpy() if left_out.shape[1:] == frames.shape[1:3] else np.zeros(color.shape[:2], np.float32)
    if picture.subset.alpha_mask:
        return np.concatenate([color, 1 - hidden[..., None]], axis=-1)
    return color + (1 - color) * hidden[..., None] if hidden.any() else color


def _colored(color: Pixels, view: View) -> Pixels:
    if view.gamma != 1:
        return np.power(color, view.gamma, dtype=np.float32)
    return _turned(color, view.hue) if view.hue else color


def _turned(color: Pixels, turns: float) -> Pixels:
    """Another hue, through 8 bits."""
    hue, saturation, value = Image.fromarray((color * 255).round().astype(np.uint8)).convert("HSV").split()
    hue = hue.point([(step + round(turns * 256)) % 256 for step in range(256)])
    return np.asarray(Image.merge("HSV", (hue, saturation, value)).convert("RGB"), np.float32) / np.float32(255)
