"""What the training loop gets to see of the data."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Batch"]


@dataclass(frozen=True, slots=True)
class Batch:
    """B pictures of one size, on the CPU."""

    latents: Tensor
    """[B, 4, h, w] in float32, at the model's scale."""
    captions: tuple[str, ...]
    weights: Tensor
    """[B] in float32: the prior loss weight for regularisation pictures, else 1."""
    masks: Tensor | None
    """[B, 1, h, w] in 0..1 in float32, if a picture of the batch has an alpha mask."""
    sizes: Tensor
    """[B, 6], int64: original height and width, cut off on top and left, target height and width, in pixels."""
    names: tuple[str, ...]
    """The pictures' files, for messages."""
