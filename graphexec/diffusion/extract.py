"""A difference between models as a LoRA, by singular value decomposition.

The best approximation of a given rank (Eckart and Young 1936), without clamping its largest numbers: a clamp costs a
tenth of the difference even where it could be told exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from graphexec.diffusion.faults import MergeError
from graphexec.diffusion.pristine import Pristine, opened
from graphexec.diffusion.save import Patched, Saved, lora_reader, patched_text, patched_unet, whole
from graphexec.diffusion.types import Clip, Model

__all__ = ["LoraType", "count_weights", "factors", "lora_tensors"]

LoraType = Literal["standard", "full_diff"]


def lora_tensors(
    model: Model | None, clip: Clip | None, rank: int, kind: LoraType, *, bias: bool, on_weight: Callable[[str], None]
) -> list[Saved]:
    """The tensors of a LoRA in fp16, from recipes whose weights are differences; those that are zero are left out.

    Weights of one dimension are kept whole, as are all where `kind` is full_diff; biases where `bias` says so.
    `on_weight` is told each name. Raises `MergeError` if there is nothing to save, `NonFiniteError` for a difference
    that is no number or too large for fp16.
    """
    found: list[Saved] = []
    for name, difference in _differences(model, clip):
        on_weight(name)
        if (name.endswith(".bias") and not bias) or not bool(difference.any()):
            continue
        found += _module(name, whole(name, difference), rank, kind, bias=bias)
    if not found:
        raise MergeError(
            "there is no difference to save: connect model_diff or text_encoder_diff to what ModelMergeSubtract or"
            " CLIPMergeSubtract makes of two different models"
        )
    return found


def count_weights(model: Model | None, clip: Clip | None) -> int:
    """How many weights recipes have."""
    return sum(len(_weights(base)) for recipe in (model, clip) if recipe for base in opened(recipe).values())


def factors(difference: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Up [O, r, 1, ...] and down [r, I, ...] whose product is nearest to a weight [O, I, ...], in float32.

    The larger side never takes part in the decomposition: the vectors are those of the smaller Gram matrix, in float64.
    """
    flat = difference.flatten(1).double()
    wide = flat.shape[0] <= flat.shape[1]
    values, vectors = torch.linalg.eigh(flat @ flat.T if wide else flat.T @ flat)
    rank = min(rank, *flat.shape)
    values, vectors = values[-rank:].flip(0), vectors[:, -rank:].flip(1)
    spread = values.clamp(min=0).pow(0.25).clamp(min=1e-12)  # the root of the singular values, half for each factor
    up, down = (vectors * spread, vectors.T @ flat / spread[:, None]) if wide else (
        flat @ vectors / spread, vectors.T * spread[:, None]
    )  # fmt: skip
    kernel = difference.shape[2:]
    ones = (1,) * len(kernel)
    return up.reshape(-1, rank, *ones).float(), down.reshape(rank, difference.shape[1], *kernel).float()


def _differences(model: Model | None, clip: Clip | None) -> Iterator[tuple[str, Tensor]]:
    """Names as generic LoRA files have them, and the weights of the recipes."""
    read = lora_reader()
    if model is not None:
        yield from _made(patched_unet(model, read), lambda name: f"diffusion_model.{name}")
    if clip is not None:
        for encoder in clip.encoders:
            place = f"text_encoders.{encoder.kind}.transformer."
            yield from _made(patched_text(clip, encoder, read), lambda name, place=place: place + _inner(name))


def _made(network: Patched, rename: Callable[[str], str]) -> Iterator[tuple[str, Tensor]]:
    return ((rename(name), network.weight(name)) for name in _weights(network.base))


def _weights(base: Pristine) -> list[str]:
    """Weights and biases; what else is in a file is no matter of degree."""
    return [name for name in base.shapes if name.endswith((".weight", ".bias"))]


def _inner(name: str) -> str:
    return name if name.startswith("text_projection") else f"text_model.{name}"


def _module(name: str, difference: Tensor, rank: int, kind: LoraType, *, bias: bool) -> list[Saved]:
    module, _, leaf = name.rpartition(".")
    if leaf == "bias":
        return [_saved(f"{module}.diff_b", difference)]
    if kind == "full_diff":
        return [_saved(f"{module}.diff", difference)]
    if difference.ndim < 2:
        return [_saved(f"{module}.diff", difference)] if bias else []
    up, down = factors(difference, rank)
    return [_saved(f"{module}.lora_up.weight", up), _saved(f"{module}.lora_down.weight", down),
            _saved(f"{module}.alpha", torch.tensor(float(down.shape[0])))]  # fmt: skip


def _saved(name: str, tensor: Tensor) -> Saved:
    half = whole(name, tensor.half())
    return Saved(name, torch.float16, tuple(half.shape), lambda: half)
