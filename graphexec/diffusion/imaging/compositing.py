"""Pictures, latents and masks laid over each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.imaging.batches import as_masks, cut_or_add_alpha, paired, repeat_to
from graphexec.diffusion.imaging.resize import upscale

__all__ = ["MaskOperation", "combine_masks", "join_alpha", "paste", "paste_picture", "split_alpha"]

MaskOperation = Literal["multiply", "add", "subtract", "and", "or", "xor"]

OPERATIONS: Mapping[MaskOperation, Callable[[Tensor, Tensor], Tensor]] = {
    "multiply": torch.mul,
    "add": torch.add,
    "subtract": torch.sub,
    "and": lambda first, second: (first.round().bool() & second.round().bool()).float(),
    "or": lambda first, second: (first.round().bool() | second.round().bool()).float(),
    "xor": lambda first, second: (first.round().bool() ^ second.round().bool()).float(),
}


def paste(destination: Tensor, source: Tensor, left: int, top: int, mask: Tensor | None, resize: bool) -> Tensor:
    """`source` [B,C,H,W] laid over `destination` at a cell, which may be negative or outside.

    The mask (1 shows the source) is resized to the source, the source to the destination if `resize`; both are cut
    or repeated to the destination's batch. Raises LatentError if the channels differ.
    """
    if source.ndim != destination.ndim or source.shape[1] != destination.shape[1]:
        raise LatentError(
            f"{tuple(source.shape)} cannot be laid over {tuple(destination.shape)}: the channels (the second number)"
            " must be as many"
        )
    if resize:
        source = upscale(source, destination.shape[-1], destination.shape[-2], "bilinear")
    source = repeat_to(source, len(destination))
    result = destination.clone()
    there, here = _overlap(destination, source, left, top)
    if mask is None:
        result[there] = source[here].to(result)
        return result
    shown = upscale(as_masks(mask)[:, None].to(source), source.shape[-1], source.shape[-2], "bilinear")
    shown = repeat_to(shown, len(source))[here]
    result[there] = shown * source[here] + (1.0 - shown) * result[there]
    return result


def paste_picture(destination: Tensor, source: Tensor, x: int, y: int, mask: Tensor | None, resize: bool) -> Tensor:
    """As `paste`, of pictures [B,H,W,C]; the source loses or gets an (opaque) alpha as the destination has one."""
    source = cut_or_add_alpha(source, destination)
    return paste(destination.movedim(-1, 1), source.movedim(-1, 1), x, y, mask, resize).movedim(1, -1)


def combine_masks(destination: Tensor, source: Tensor, x: int, y: int, operation: MaskOperation) -> Tensor:
    """A mask over another at (x, y), which may be negative or outside; and, or, xor round first. In 0..1."""
    result, source = as_masks(destination).clone(), as_masks(source)
    there, here = _overlap(result, source, x, y)
    result[there] = OPERATIONS[operation](result[there], repeat_to(source, len(result))[here])
    return result.clamp(0.0, 1.0)


def _overlap(destination: Tensor, source: Tensor, left: int, top: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """What is covered of [...,H,W] when `source` lies at a cell of it, and by which part of the source."""
    spans: list[tuple[slice, slice]] = []
    for start, length, room in zip((top, left), source.shape[-2:], destination.shape[-2:], strict=True):
        first, last = min(max(start, 0), room), min(max(start + length, 0), room)
        spans.append((slice(first, last), slice(first - start, last - start) if last > first else slice(0, 0)))
    before = (slice(None),) * (destination.ndim - 2)
    return (*before, spans[0][0], spans[1][0]), (*before, spans[0][1], spans[1][1])


def split_alpha(picture: Tensor) -> tuple[Tensor, Tensor]:
    """The colors of pictures [B,H,W,C], and what their alpha leaves out [B,H,W]: nothing where there is none."""
    left_out = 1.0 - picture[..., 3] if picture.shape[-1] > 3 else torch.zeros_like(picture[..., 0])
    return picture[..., :3].clone(), left_out


def join_alpha(picture: Tensor, mask: Tensor) -> Tensor:
    """Pictures [B,H,W,4] from colors and a mask of what is left out, which is resized to them."""
    picture, masks = paired(picture, as_masks(mask))
    left_out = upscale(masks[:, None], picture.shape[2], picture.shape[1], "bilinear")
    return torch.cat([picture[..., :3], 1.0 - left_out.movedim(1, -1)], dim=-1)
