"""Batches of latents, and which item of its batch each one is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from graphexec.diffusion.imaging.batches import as_masks, repeat_to
from graphexec.diffusion.imaging.resize import upscale
from graphexec.diffusion.latents.arithmetic import fitted
from graphexec.diffusion.types import DOWNSCALE, Latent

__all__ = ["SeedBehavior", "append", "pick", "rebatch", "repeat", "seed_behavior", "with_noise_mask"]

SeedBehavior = Literal["random", "fixed"]


def append(first: Latent, second: Latent) -> Latent:
    """Both batches as one, the second resampled to the first's size; the first's noise mask stays."""
    samples = torch.cat([first.samples, fitted(second.samples, first.samples)])
    return replace(first, samples=samples, batch_index=(*_index(first), *_index(second)))


def pick(latent: Latent, start: int, length: int) -> Latent:
    """Items from `start` on, at least one and no more than there are; each knows which one of its batch it was."""
    count = len(latent.samples)
    first = min(count - 1, start)
    taken = slice(first, min(count, first + length))
    mask = latent.noise_mask
    if mask is not None and len(mask) > 1:
        mask = repeat_to(mask, max(count, len(mask)))[taken]
    return Latent(latent.samples[taken], mask, _index(latent)[taken])


def repeat(latent: Latent, amount: int) -> Latent:
    """The batch `amount` times over, with batch indices that go on where the last ones end.

    Unlike ComfyUI's, masks of which there are several stay with their samples, be they fewer or more.
    """
    count = len(latent.samples)
    mask = latent.noise_mask
    if mask is not None and len(mask) > 1:
        mask = repeat_to(mask, count).repeat(amount, *[1] * (mask.ndim - 1))
    return Latent(latent.samples.repeat(amount, 1, 1, 1), mask, _repeated(latent.batch_index, amount))


def seed_behavior(latent: Latent, behavior: SeedBehavior) -> Latent:
    """Whether every item draws noise of its own ("random") or the same as the first ("fixed")."""
    if behavior == "random":
        return replace(latent, batch_index=None)
    return replace(latent, batch_index=(_index(latent)[0] if latent.batch_index else 0,) * len(latent.samples))


def with_noise_mask(latent: Latent, mask: Tensor) -> Latent:
    """Latents that sampling may change only where the mask [B,H,W] of any size is not 0."""
    return replace(latent, noise_mask=as_masks(mask)[:, None])


def rebatch(latents: Sequence[Latent], size: int) -> list[Latent]:
    """The latents in batches of at most `size`; a new batch starts where the latents' size changes.

    Each item knows which one it was of its batch, or of all of them. Unlike ComfyUI, which cannot join masks of
    several sizes, they are then resampled to the size of the pictures; masks of ones are left out, as there.
    """
    items = _items(latents)
    runs = groupby(items, key=lambda item: item.samples.shape[1:])
    return [_joined(run[at : at + size]) for run in map(_of_run, runs) for at in range(0, len(run), size)]


@dataclass(frozen=True, slots=True)
class _Item:
    """One latent [1,C,h,w] of a batch."""

    samples: Tensor
    mask: Tensor | None
    index: int


def _items(latents: Sequence[Latent]) -> Iterator[_Item]:
    before = 0
    for latent in latents:
        count = len(latent.samples)
        masks = None if latent.noise_mask is None else repeat_to(_planes(latent.noise_mask), count).split(1)
        index = latent.batch_index or range(before, before + count)
        for i, samples in enumerate(latent.samples.split(1)):
            yield _Item(samples, masks[i] if masks else None, index[i])
        before += count


def _of_run(run: tuple[object, Iterator[_Item]]) -> list[_Item]:
    """Items of one size, either all with masks of one size, or none with a mask."""
    items = list(run[1])
    sizes = {item.mask.shape[-2:] for item in items if item.mask is not None}
    if not sizes:
        return items
    height, width = (side * DOWNSCALE for side in items[0].samples.shape[-2:]) if len(sizes) > 1 else sizes.pop()
    return [replace(item, mask=_fitted_mask(item.mask, height, width)) for item in items]


def _fitted_mask(mask: Tensor | None, height: int, width: int) -> Tensor:
    if mask is None:
        return torch.ones(1, 1, height, width)
    return mask if mask.shape[-2:] == (height, width) else upscale(mask, width, height, "bilinear")


def _joined(items: Sequence[_Item]) -> Latent:
    masks = [item.mask for item in items if item.mask is not None]
    mask = torch.cat(masks) if masks else None
    free = mask is None or bool((mask == 1.0).all())
    samples = torch.cat([item.samples for item in items])
    return Latent(samples, None if free else mask, tuple(item.index for item in items))


def _planes(mask: Tensor) -> Tensor:
    return as_masks(mask)[:, None]


def _index(latent: Latent) -> tuple[int, ...]:
    return tuple(range(len(latent.samples))) if latent.batch_index is None else latent.batch_index


def _repeated(index: tuple[int, ...] | None, amount: int) -> tuple[int, ...] | None:
    if index is None:
        return None
    span = max(index) - min(index) + 1
    return tuple(item + time * span for time in range(amount) for item in index)
