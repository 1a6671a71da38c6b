"""Batches and channels that have to fit each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from graphexec.diffusion.faults import LatentError

__all__ = ["as_masks", "cut_or_add_alpha", "paired", "pick", "rebatch", "repeat_to", "same_channels"]


def repeat_to(items: Tensor, count: int) -> Tensor:
    """`count` items of a batch [B, ...]: the first ones, or all of them over and over."""
    if len(items) == count:
        return items
    return items[torch.arange(count) % len(items)]


def paired(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two batches [B, ...], both at the length of the longer one."""
    count = max(len(first), len(second))
    return repeat_to(first, count), repeat_to(second, count)


def pick(pictures: Tensor, first: int, count: int) -> Tensor:
    """Up to `count` pictures of a batch from the one numbered `first`: beyond the end the last, below 0 from the end.

    Raises LatentError where that is none.
    """
    start = min(first, len(pictures) - 1)
    picked = pictures[start : start + count].clone()
    if len(picked) == 0:
        raise LatentError(f"{count} pictures from number {first} on are none of a batch of {len(pictures)}")
    return picked


def as_masks(mask: Tensor) -> Tensor:
    """Masks [B,H,W] of what may be [H,W] or [B,1,H,W].

    Raises LatentError for masks of no cell, which CropMask cuts beyond a mask's edges.
    """
    if mask.numel() == 0:
        raise LatentError(
            f"masks [batch, height, width] of at least one cell are needed, these are {tuple(mask.shape)}"
        )
    return mask.reshape(-1, *mask.shape[-2:])


def same_channels(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures [...,C] with the channels of the one that has more; what is added is opaque (1)."""
    channels = max(first.shape[-1], second.shape[-1])
    return _opaque(first, channels), _opaque(second, channels)


def cut_or_add_alpha(picture: Tensor, like: Tensor) -> Tensor:
    """The picture [...,C] with as many channels as `like`: the surplus is cut off, what lacks is opaque (1)."""
    return _opaque(picture[..., : like.shape[-1]], like.shape[-1])


def _opaque(picture: Tensor, channels: int) -> Tensor:
    return F.pad(picture, (0, channels - picture.shape[-1]), value=1.0)


def rebatch(batches: Sequence[Tensor], size: int) -> list[Tensor]:
    """Pictures [B,H,W,C] in batches of at most `size`; a new batch starts where the size of the pictures changes."""
    groups: list[list[Tensor]] = []
    for picture in (picture for batch in batches for picture in batch.split(1)):
        if not groups or len(groups[-1]) == size or groups[-1][0].shape != picture.shape:
            groups.append([])
        groups[-1].append(picture)
    return [torch.cat(group) for group in groups]


def need_channels(picture: Tensor, least: int, what: str) -> None:
    """LatentError if a picture [B,H,W,C] has fewer channels than an operation works on."""
    if picture.ndim != 4 or picture.shape[-1] < least:
        raise LatentError(f"{what} takes pictures [batch, height, width, {least} or more], not {tuple(picture.shape)}")
