"""How a network comes from a file of weights: built without memory, given the file's tensors, under its own names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Generic, TypeVar, get_args

import torch
from torch import Tensor, nn

from graphexec.diffusion.faults import listed
from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.gligen import GligenNetwork, gligen_parts
from graphexec.diffusion.models.layout import clip_layout, unet_layout, vae_layout
from graphexec.diffusion.models.names import (
    SCALE,
    Parts,
    named_shapes,
    text_parts,
    unet_parts,
    vae_parts,
    without_scales,
)
from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.models.vae import Autoencoder
from graphexec.diffusion.recognise import NO_TEXT, NO_VAE
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.stored import open_weights
from graphexec.diffusion.types import EncoderKind, Stored
from graphexec.errors import ModelFileError
from graphexec.lora.header import Shapes, strip_prefix
from graphexec.lora.keys import text_aliases, unet_aliases

__all__ = ["GLIGEN", "TEXT", "UNET", "VAE", "Kind", "Source", "Weights", "load_network"]

IGNORED = (
    *("embeddings.position_ids", "logit_scale", "text_projection", "vision_model.", "visual_projection."),
    *("visual.", "attn_mask"),
    *("loss.", "model_ema.", "v_pred", "ztsnr", "edm_vpred."),
)
"""Tensors that are known to lie beside a network's and are no part of it."""

FP8: Mapping[Stored, torch.dtype] = {
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e4m3fn_fast": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}

NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a network's pristine weights are; the file is mapped, not read."""

    file: WeightsFile
    prefix: str
    stored: Stored = "default"


@dataclass(frozen=True, slots=True)
class Kind(Generic[NetworkT]):
    """A kind of network: what files call its weights, how it is built from their shapes, what LoRAs call them."""

    parts: Callable[[Shapes], Parts]
    build: Callable[[Shapes], NetworkT]
    aliases: Callable[[Shapes], Mapping[str, str]]
    absent: str = "there is no such network in this file"
    """What to say of a file that has none."""
    rounds: bool = False
    """Whether changed weights of files of 16 bits or fewer are rounded to float16, as ComfyUI's text encoders are.

    So a GPU loses nothing if it holds them in float16 and computes in float32.
    """


class Weights:
    """The pristine weights of a network, by the network's names, in the dtype of their file."""

    def __init__(self, source: Source, parts: Callable[[Shapes], Parts]) -> None:
        self.source = source
        self._file = open_weights(source.file.path)
        stored = without_scales(strip_prefix(self._file.shapes, source.prefix))
        self._parts = parts(stored)
        self.shapes: Shapes = named_shapes(stored, self._parts)

    @property
    def parameters(self) -> int:
        """How many numbers there are in all."""
        return sum(map(math.prod, self.shapes.values()))

    @cached_property
    def bits(self) -> int:
        """How many bits the most exact of them has in the file."""
        names = (part.name for name, part in self._parts.items() if not name.startswith(IGNORED))
        return 8 * max((self._file.tensor(self.source.prefix + name).itemsize for name in names), default=0)

    def tensor(self, name: str) -> Tensor:
        """A weight as the file has it, not to be changed; it may lie in the mapped file. Scaled ones are float32."""
        part = self._parts[name]
        whole = self._whole(self.source.prefix + part.name)
        if self.source.stored in FP8:
            whole = whole.to(FP8[self.source.stored])
        if part.third is not None:
            rows = len(whole) // 3
            return whole[part.third * rows : (part.third + 1) * rows]
        return whole.t() if part.transposed else whole

    def dtype(self, name: str) -> torch.dtype:
        """What a weight is to be stored in: that of its file, for scaled ones float16, which can tell them apart."""
        if self.source.stored in FP8:
            return FP8[self.source.stored]
        stored = self.source.prefix + self._parts[name].name
        return torch.float16 if _scale(stored) in self._file.shapes else self._file.tensor(stored).dtype

    def _whole(self, name: str) -> Tensor:
        whole, scale = self._file.tensor(name), _scale(name)
        if scale not in self._file.shapes:
            return whole
        factors = self._file.tensor(scale).float()
        if factors.numel() not in (1, len(whole)):
            raise ModelFileError(
                f"{self.source.file.path}: {scale!r} holds {factors.numel()} factors; a weight of shape"
                f" {tuple(whole.shape)} takes one, or one for each row"
            )
        return whole.float() * factors.view(-1, *[1] * (whole.ndim - 1))

    def expect(self, name: str) -> None:
        """Let the system begin to read a weight that is needed soon."""
        self._file.expect(self.source.prefix + self._parts[name].name)

    def loaded(self, name: str, like: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        """A weight in the shape of `like`, on a device in a dtype; in the file's own memory where that will do."""
        tensor = self.tensor(name)
        loaded = tensor.to(device, dtype).contiguous().view(like.shape)
        if loaded.data_ptr() != tensor.data_ptr():
            self._file.forget(self.source.prefix + self._parts[name].name)
        return loaded


def load_network(
    kind: Kind[NetworkT],
    weights: Weights,
    device: torch.device,
    dtype: torch.dtype,
    warn: Callable[[str], object] = lambda message: None,
) -> NetworkT:
    """Build a network without weights, then give it those of the file, in `dtype` on `device`.

    `warn` is told of what else the file holds below the network's prefix. Raises `ModelFileError` if a weight is
    missing or of another size.
    """
    with torch.device("meta"):
        network = kind.build(weights.shapes)
    expected = network.state_dict()
    _check_names(weights, expected, warn)
    state = dict(_loaded(weights, expected, device, dtype))
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval()


def _loaded(
    weights: Weights, expected: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[str, Tensor]]:
    """The weights by name, each read from the disk while the one before it is converted."""
    names = list(expected)
    for name, following in zip(names, [*names[1:], names[-1]], strict=True):
        weights.expect(following)
        yield name, weights.loaded(name, expected[name], device, dtype)


def _check_names(weights: Weights, expected: Mapping[str, Tensor], warn: Callable[[str], object]) -> None:
    shapes, path = weights.shapes, weights.source.file.path
    missing = [name for name in expected if name not in shapes]
    strange = [name for name in shapes if name not in expected and not name.startswith(IGNORED)]
    unfit = [name for name, empty in expected.items() if name in shapes and math.prod(shapes[name]) != empty.numel()]
    for names, fault in ((missing, "lacks"), (unfit, "has the wrong shape of")):
        if names:
            raise ModelFileError(f"{path}: the file {fault} {len(names)} weights of its network: {listed(names)}")
    if strange:
        others = listed(strange)
        warn(f"{path}: {len(strange)} tensors are no part of a network that is known, and are left out: {others}")


def _scale(weight: str) -> str:
    """The name of the numbers that scale a weight, which only files in eight bits have."""
    return weight.removesuffix(".weight") + SCALE


def _build_unet(shapes: Shapes) -> UNet:
    return UNet(unet_layout(shapes))


def _text(kind: EncoderKind) -> Kind[ClipText]:
    aliases = partial(text_aliases, kind=kind)
    return Kind(text_parts, lambda shapes: ClipText(clip_layout(shapes, kind)), aliases, NO_TEXT, rounds=True)


def _build_vae(shapes: Shapes) -> Autoencoder:
    return Autoencoder(vae_layout(shapes))


def _no_aliases(shapes: Shapes) -> Mapping[str, str]:
    return {}


UNET = Kind(unet_parts, _build_unet, unet_aliases)
TEXT: Mapping[EncoderKind, Kind[ClipText]] = {kind: _text(kind) for kind in get_args(EncoderKind)}
VAE = Kind(vae_parts, _build_vae, _no_aliases, NO_VAE)
GLIGEN = Kind(gligen_parts, GligenNetwork, _no_aliases)
