"""The weight store: turns recipes into networks on a device, and keeps them there."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator, Hashable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from graphexec.diffusion.controlfiles import read_control
from graphexec.diffusion.controlload import Steering, load_control
from graphexec.diffusion.loading import GLIGEN, TEXT, UNET, VAE, Kind, Source, Weights, load_network
from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.gligen import GligenNetwork
from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.models.vae import Autoencoder
from graphexec.diffusion.patch import Delta, LoraReader, deltas_by_weight, patched_weight
from graphexec.diffusion.tokenizer import ClipTokenizer
from graphexec.diffusion.types import ControlNet, Gligen, LoraPatch, Model, TextEncoder, Vae, WeightsFile
from graphexec.errors import ModelFileError

__all__ = ["Runtime", "network_bytes"]

NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass
class Resident(Generic[NetworkT]):
    """A network on the device, and the LoRAs now in its weights."""

    network: NetworkT
    weights: Weights
    aliases: Mapping[str, str]
    applied: dict[str, tuple[Delta, ...]] = field(default_factory=dict[str, tuple[Delta, ...]])

    def switch(self, patches: Sequence[LoraPatch]) -> None:
        """Make the weights those of the base with `patches`, touching only the layers in which they differ."""
        wanted = deltas_by_weight(patches, self.aliases, self.weights.shapes)
        changed = [name for name in self.applied.keys() | wanted.keys() if self.applied.get(name) != wanted.get(name)]
        read = LoraReader()
        for name in sorted(changed):
            self._set(name, wanted.get(name, ()), read)

    def _set(self, name: str, deltas: tuple[Delta, ...], read: LoraReader) -> None:
        parameter = self.network.get_parameter(name)
        base = self.weights.tensor(name).to(parameter.device).contiguous().view(parameter.shape)
        weight = patched_weight(base, deltas, read) if deltas else base
        parameter.data = weight.to(parameter.dtype)
        if deltas:
            self.applied[name] = deltas
        else:
            self.applied.pop(name, None)


@dataclass
class Held:
    """A network on the device that is not switched from one recipe to the next."""

    network: Steering


class Runtime:
    """Networks on one device, made from recipes. Safe to share between threads: one at a time uses a network.

    `device` is a torch device, or "auto" for CUDA where there is one. `budget` bounds the bytes of weights held
    (None: four fifths of a GPU's memory, half of a computer's); the networks used longest ago make room for a new one.
    """

    def __init__(self, device: str = "auto", budget: int | None = None) -> None:
        self.device = torch.device(_pick(device))
        self.budget = _memory(self.device) if budget is None else budget
        self._lock = threading.RLock()
        self._resident: dict[Hashable, Resident[Any] | Held] = {}

    @cached_property
    def tokenizer(self) -> ClipTokenizer:
        """CLIP's tokenizer."""
        return ClipTokenizer()

    @property
    def unet_dtype(self) -> torch.dtype:
        """What the UNet computes in: float16 on CUDA, else float32. Text encoder and VAE are always float32."""
        return torch.float16 if self.device.type == "cuda" else torch.float32

    @contextmanager
    def unet(self, model: Model) -> Generator[UNet]:
        """The UNet of a recipe, for the length of the block."""
        with self._lock:
            resident = self._load(UNET, Source(model.file, model.prefix, model.stored), self.unet_dtype)
            resident.switch(model.patches)
            yield resident.network

    @contextmanager
    def text_encoder(self, encoder: TextEncoder, patches: Sequence[LoraPatch] = ()) -> Generator[ClipText]:
        """One text encoder of a recipe, for the length of the block."""
        with self._lock:
            resident = self._load(TEXT[encoder.kind], Source(encoder.file, encoder.prefix), torch.float32)
            resident.switch(patches)
            yield resident.network

    @contextmanager
    def vae(self, vae: Vae) -> Generator[Autoencoder]:
        """The autoencoder of a recipe, for the length of the block."""
        with self._lock:
            yield self._load(VAE, Source(vae.file, vae.prefix), torch.float32).network

    @contextmanager
    def controlnet(self, net: ControlNet, model: Model) -> Generator[Steering]:
        """The network of a recipe, for the length of the block, to steer `model`.

        A difference without a base of its own is added to the weights of `model`, whose UNet this may switch.
        """
        with self._lock:
            yield self._load_control(net, net.base or model).network

    @contextmanager
    def gligen(self, net: Gligen) -> Generator[GligenNetwork]:
        """The GLIGEN network of a recipe, for the length of the block."""
        with self._lock:
            yield self._load(GLIGEN, Source(net.file, ""), self.unet_dtype).network

    def clear(self) -> None:
        """Drop every network."""
        with self._lock:
            self._resident.clear()

    def resident_bytes(self) -> int:
        """Bytes of the weights held now."""
        return sum(network_bytes(resident.network) for resident in self._resident.values())

    def _load_control(self, net: ControlNet, base: Model) -> Held:
        _check_current(net.file)
        file = read_control(net.file)
        key = (net.file, (base.file, base.prefix, base.patches) if file.needs_base else None)
        held = self._resident.pop(key, None)
        if not isinstance(held, Held):
            self._make_room(self.unet_dtype.itemsize * file.parameters)
            with self.unet(base) if file.needs_base else nullcontext() as unet:
                held = Held(load_control(net.file, unet, self.device, self.unet_dtype))
        self._resident[key] = held
        return held

    def _load(self, kind: Kind[NetworkT], source: Source, dtype: torch.dtype) -> Resident[NetworkT]:
        _check_current(source.file)
        resident = self._resident.pop((kind, source), None)
        if not isinstance(resident, Resident):
            weights = Weights(source, kind.parts)
            self._make_room(dtype.itemsize * weights.parameters)
            network = load_network(kind, weights, self.device, dtype)
            resident = Resident(network, weights, kind.aliases(weights.shapes))
        self._resident[kind, source] = resident
        return resident

    def _make_room(self, needed: int) -> None:
        while self._resident and self.resident_bytes() + needed > self.budget:
            del self._resident[next(iter(self._resident))]


def network_bytes(network: nn.Module) -> int:
    """Bytes of a network's weights."""
    return sum(parameter.nbytes for parameter in network.parameters())


def _pick(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _memory(device: torch.device) -> int:
    """The bytes of weights that a device may hold."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory * 4 // 5
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return sys.maxsize


def _check_current(file: WeightsFile) -> None:
    if not file.is_current():
        raise ModelFileError(
            f"{file.path}: the file was changed or removed after it was opened; run the workflow again"
        )
