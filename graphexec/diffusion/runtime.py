"""The weight store: turns recipes into networks on a device, and keeps them there."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from graphexec.diffusion.compiled import Compiled, Compiling
from graphexec.diffusion.controlfiles import read_control
from graphexec.diffusion.controlload import Steering, load_control
from graphexec.diffusion.devices import pick_device
from graphexec.diffusion.loading import GLIGEN, TEXT, UNET, VAE, Kind, Source, load_network
from graphexec.diffusion.lorafiles import LoraReader
from graphexec.diffusion.memory import device_budget, host_budget, network_bytes, streamed, within_memory
from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.gligen import GligenNetwork
from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.models.vae import Autoencoder
from graphexec.diffusion.patch import Find, Patching
from graphexec.diffusion.precisions import DTYPES
from graphexec.diffusion.pristine import Pristine, check_current
from graphexec.diffusion.resident import Kept, Resident
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.tokenizer import ClipTokenizer
from graphexec.diffusion.types import Clip, ControlNet, Gligen, Model, Patch, Precision, TextEncoder, Vae

__all__ = ["Runtime", "network_bytes"]

NetworkT = TypeVar("NetworkT", bound=nn.Module)
T = TypeVar("T")
Warn = Callable[[str], object]

HOST = torch.device("cpu")
POLL_SECONDS = 0.05
"""How long a waiting run may be asked to stop without hearing of it."""


def _unheard(message: str) -> None:
    """Nobody is told."""


def _go_on() -> None:
    """For who never stops."""


_tokenizer = cache(ClipTokenizer)
"""Made when it is first needed."""


class Runtime:
    """Networks on one device, made from recipes. Safe to share between threads: one at a time uses a network.

    `device` is a torch device, or "auto" for CUDA where there is one. `budget` bounds the bytes of weights held there
    (None: four fifths of a GPU's memory, half of a computer's); the networks used longest ago make room for a new one,
    those in use stay. They go to the host as long as it holds no more than `host_budget` (None: half of the
    computer's memory where the device is a GPU, else nothing), and a network too large for the device computes from
    there, layer by layer. `precision` is what UNets compute in unless a model says otherwise (None: fp16 on CUDA, else
    fp32). Text encoders always compute in float32, VAEs too, but on CUDA, unless the precision is fp32, in bfloat16
    where the GPU has it. `compiling` UNets makes each step shorter and the first
    one, at each new size, minutes longer. `strict_lora` makes it an error that a hook's LoRA is used only in part.
    """

    def __init__(
        self,
        device: str = "auto",
        budget: int | None = None,
        *,
        host_budget: int | None = None,
        precision: Precision | None = None,
        compiling: Compiling | None = None,
        strict_lora: bool = False,
    ) -> None:
        self.device = pick_device(device)
        self.budget = device_budget(self.device) if budget is None else budget
        self.host_budget = _default_host_budget(self.device) if host_budget is None else host_budget
        self.precision: Precision = precision or ("fp16" if self.device.type == "cuda" else "fp32")
        self.light = self.device.type == "cuda" and self.precision != "fp32"
        self.vae_dtype = torch.bfloat16 if self.light and _has_bf16(self.device) else torch.float32
        self.compiling: Compiling | None = compiling
        self.strict_lora = strict_lora
        self._lock = threading.RLock()
        self._check = _go_on
        self._stored: dict[Hashable, Kept[Any]] = {}
        """Those used last come last."""
        self._opened: WeakValueDictionary[Source, Pristine] = WeakValueDictionary()
        """As long as a network is made of them."""
        self._patching = Patching()
        self._lora_reader = LoraReader()

    def heeding(self, check: Callable[[], None]) -> Runtime:
        """The same networks for one run: it calls `check`, which may raise, while it waits for its turn."""
        own = copy.copy(self)
        own._check = check
        return own

    @property
    def tokenizer(self) -> ClipTokenizer:
        """CLIP's tokenizer."""
        return _tokenizer()

    def dtype_of(self, model: Model) -> torch.dtype:
        """What the UNet of a recipe computes in."""
        return DTYPES[model.dtype or self.precision]

    @contextmanager
    def unet(self, model: Model, *, warn: Warn = _unheard) -> Generator[UNet]:
        """The UNet of a recipe, for the length of the block; if it is read, `warn` is told what else is in its file."""
        dtype = self.dtype_of(model)
        with self._use(UNET, _of_model(model), dtype, model.patches, self._merged_unet, warn) as network:
            yield network

    def forward(self, unet: UNet, *inputs: Any) -> Tensor:
        """What a UNet in use makes of its inputs, compiled if the runtime does that and its weights stay in place."""
        stored = self._stored_of(unet) if self.compiling else None
        if self.compiling is None or stored is None or not stored.on_device:
            return unet(*inputs)
        stored.compiled = stored.compiled or Compiled(unet, self.compiling)
        return stored.compiled(*inputs)

    @contextmanager
    def text_encoder(
        self, encoder: TextEncoder, patches: Sequence[Patch] = (), *, warn: Warn = _unheard
    ) -> Generator[ClipText]:
        """One text encoder of a recipe, for the length of the block; `warn` as for `unet`."""
        kind, source, find = TEXT[encoder.kind], _of_encoder(encoder), partial(self._merged_text, encoder.kind)
        with self._use(kind, source, self._text_dtype(kind, source), patches, find, warn) as network:
            yield network

    @contextmanager
    def vae(self, vae: Vae, *, warn: Warn = _unheard) -> Generator[Autoencoder]:
        """The autoencoder of a recipe, for the length of the block; `warn` as for `unet`."""
        with self._use(VAE, Source(vae.file, vae.prefix), self.vae_dtype, warn=warn) as network:
            yield network

    @contextmanager
    def controlnet(self, net: ControlNet, model: Model) -> Generator[Steering]:
        """The network of a recipe, for the length of the block, to steer `model`.

        A difference without a base of its own is added to the weights of `model`, whose UNet this may switch.
        """
        load = partial(self._load_control, net, model)
        with self._turn(), self._lend(self._loaded(load, net.file, [partial(load, on_host=True)])) as network:
            yield network

    @contextmanager
    def gligen(self, net: Gligen, model: Model) -> Generator[GligenNetwork]:
        """The GLIGEN network of a recipe, for the length of the block, in what `model` computes in."""
        with self._use(GLIGEN, Source(net.file, ""), self.dtype_of(model)) as network:
            yield network

    def within_memory(
        self, compute: Callable[[], T], what: str, *, smaller: Sequence[Callable[[], T]] = (), network: nn.Module | None
    ) -> T:
        """Compute with a network in use; what to do when memory runs out is tried in turn.

        First what is not in use leaves the device, then each of `smaller` takes the place of `compute`, then the
        network computes layer by layer from the host, unless it is none of the runtime's (None). Raises `OutOfMemory`
        naming `what` when all that was not enough.
        """
        last = smaller[-1] if smaller else compute
        remedies: list[Callable[[], Callable[[], T] | None]] = [lambda: compute if self.free_idle() else None]
        remedies += map(_instead, smaller)
        remedies.append(lambda: last if network is not None and self._stream(network) else None)
        return within_memory(compute, remedies, what)

    def free_idle(self) -> bool:
        """Take what is not in use off the device; whether there was anything."""
        with self._turn():
            before = self.resident_bytes()
            self._make_room(self.budget + 1)
            self._lora_reader.clear()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            return self.resident_bytes() < before

    def clear(self) -> None:
        """Drop every network that is not in use."""
        with self._turn():
            self._forget(lambda stored: not stored.users)
            self._opened.clear()
            self._patching.matched.clear()
            self._lora_reader.clear()

    def resident_bytes(self) -> int:
        """Bytes of the weights on the device now."""
        there = list(self._stored.values())  # at once, as another thread may be loading
        return sum(stored.bytes for stored in there if stored.on_device)

    def host_bytes(self) -> int:
        """Bytes of the weights that wait on the host."""
        there = list(self._stored.values())
        return sum(stored.bytes for stored in there if not stored.on_device)

    @contextmanager
    def _turn(self) -> Generator[None]:
        """Keep other threads out; what one of them does meanwhile may take minutes."""
        while not self._lock.acquire(timeout=POLL_SECONDS):
            self._check()
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _use(
        self,
        kind: Kind[NetworkT],
        source: Source,
        dtype: torch.dtype,
        patches: Sequence[Patch] = (),
        find: Find = lambda other: None,
        warn: Warn = _unheard,
    ) -> Generator[NetworkT]:
        ready = partial(self._ready, kind, source, dtype, patches, find, warn)
        with self._turn():
            smaller = [partial(ready, copies=False), partial(ready, copies=False, on_host=True)]
            with self._lend(self._loaded(ready, source.file, smaller)) as network:
                yield network

    def _loaded(self, load: Callable[[], T], file: WeightsFile, smaller: Sequence[Callable[[], T]]) -> T:
        """Load a file's network; each of `smaller`, which need the host, takes less of the device than the one before.

        Raises `OutOfMemory`.
        """
        smaller = smaller if self.host_budget else ()
        return self.within_memory(load, f"loading {file.path.name}", smaller=smaller, network=None)

    def _ready(
        self,
        kind: Kind[NetworkT],
        source: Source,
        dtype: torch.dtype,
        patches: Sequence[Patch],
        find: Find,
        warn: Warn,
        *,
        copies: bool = True,
        on_host: bool = False,
    ) -> Resident[NetworkT]:
        """The network with its patches; `copies` are those that make the next change fast."""
        resident = self._load(kind, source, dtype, warn, on_host=on_host)
        if not resident.has(patches):
            wanted = self._patching.steps(patches, resident.base, find)
            resident.switch(wanted, self.budget - self.resident_bytes() if copies else 0)
            resident.patches = tuple(patches)
        return resident

    @contextmanager
    def _lend(self, stored: Kept[NetworkT]) -> Generator[NetworkT]:
        """The network, which stays where it is meanwhile; from the host it computes on the device layer by layer."""
        stored.users += 1
        try:
            if stored.users == 1 and (stored.computes or not stored.on_device):
                stored.uses.enter_context(streamed(stored.network, self.device, stored.computes))
            yield stored.network
        finally:
            stored.users -= 1
            if not stored.users:
                stored.uses.close()

    def _load(
        self, kind: Kind[NetworkT], source: Source, dtype: torch.dtype, warn: Warn, *, on_host: bool
    ) -> Resident[NetworkT]:
        """The network, last used now, on the device if it fits there and need not stay on the host."""
        check_current(source.file)
        key = (kind, source, dtype)
        stored = self._recall(key, on_host=on_host)
        if isinstance(stored, Resident):
            return stored
        base = self._open(kind, source)
        fits = not on_host and self._fits(dtype.itemsize * base.weights.parameters)
        network = load_network(kind, base.weights, self.device if fits else HOST, dtype, warn)
        computes = torch.float32 if kind.rounds and dtype != torch.float32 else None
        self._stored[key] = resident = Resident(
            network, base, self._lora_reader, kind.rounds, on_device=fits, computes=computes
        )
        return resident

    def _text_dtype(self, kind: Kind[ClipText], source: Source) -> torch.dtype:
        """What a text encoder's weights are held in."""
        if not self.light:
            return torch.float32
        with self._turn():
            return torch.float16 if self._open(kind, source).weights.bits <= 16 else torch.float32

    def _load_control(self, net: ControlNet, model: Model, *, on_host: bool = False) -> Kept[Steering]:
        check_current(net.file)
        file, base, dtype = read_control(net.file), net.base or model, self.dtype_of(model)
        key = (net.file, dtype, (_of_model(base), base.patches) if file.needs_base else None)
        stored = self._recall(key, on_host=on_host)
        if stored is not None:
            return stored
        fits = not on_host and self._fits(dtype.itemsize * file.parameters)
        with self.unet(base) if file.needs_base else nullcontext() as unet:
            network = load_control(net.file, unet, self.device if fits else HOST, dtype)
        self._stored[key] = stored = Kept(network, on_device=fits)
        return stored

    def _recall(self, key: Hashable, *, on_host: bool) -> Kept[Any] | None:
        """A network that is here, last used now, back on the device if it fits there and need not stay on the host."""
        stored = self._stored.pop(key, None)
        if stored is None:
            return None
        if on_host:
            self._to_host(stored)
        elif not stored.on_device and not stored.users and self._fits(stored.bytes):
            self._move(stored, self.device, on_device=True)
        self._stored[key] = stored
        return stored

    def _fits(self, needed: int) -> bool:
        """Make room on the device; False if the host has to do."""
        self._make_room(needed)
        return not self.host_budget or self.resident_bytes() + needed <= self.budget

    def _make_room(self, needed: int) -> None:
        """What was used longest ago leaves the device first, and copies before all."""
        if self.resident_bytes() + needed > self.budget:
            for stored in self._stored.values():
                stored.drop_copies()
        for key, stored in list(self._stored.items()):
            if self.resident_bytes() + needed <= self.budget:
                return
            if stored.on_device and not stored.users:
                self._put_off(key, stored)

    def _put_off(self, key: Hashable, leaving: Kept[Any]) -> None:
        """Move a network to the host, where the ones used longest ago make room, or drop it."""
        waiting = [other for other, stored in self._stored.items() if not stored.on_device and not stored.users]
        while waiting and self.host_bytes() + leaving.bytes > self.host_budget:
            del self._stored[waiting.pop(0)]
        if self.host_bytes() + leaving.bytes > self.host_budget:
            del self._stored[key]
        else:
            self._move(leaving, HOST, on_device=False)

    def _stream(self, network: nn.Module) -> bool:
        """Let a network in use compute from the host until its last use ends; False if it does so, or may not."""
        stored = self._stored_of(network)
        if stored is None or not stored.on_device or not self.host_budget:
            return False
        self._to_host(stored)
        return True

    def _to_host(self, stored: Kept[Any]) -> None:
        """Take a network off the device; one in use computes from the host until its last use ends."""
        in_use = stored.users and stored.on_device and not stored.computes
        self._move(stored, HOST, on_device=False)
        if in_use:
            stored.uses.enter_context(streamed(stored.network, self.device))

    def _move(self, stored: Kept[Any], device: torch.device, *, on_device: bool) -> None:
        """Move a network; if that fails halfway, it is of no use any more and is forgotten."""
        try:
            stored.move(device, on_device=on_device)
        except (RuntimeError, MemoryError):
            self._forget(lambda other: other is stored)
            raise

    def _forget(self, which: Callable[[Kept[Any]], bool]) -> None:
        """Let go of networks; those who share `_stored` see it."""
        for key in [key for key, stored in self._stored.items() if which(stored)]:
            del self._stored[key]

    def _stored_of(self, network: nn.Module) -> Kept[Any] | None:
        return next((stored for stored in self._stored.values() if stored.network is network), None)

    def _open(self, kind: Kind[Any], source: Source) -> Pristine:
        check_current(source.file)
        base = self._opened.get(source)
        if base is None:
            base = self._opened[source] = Pristine.open(kind, source)
        return base

    def _merged_unet(self, other: Model | Clip) -> Pristine | None:
        return self._open(UNET, _of_model(other)) if isinstance(other, Model) else None

    def _merged_text(self, kind: str, other: Model | Clip) -> Pristine | None:
        encoders = other.encoders if isinstance(other, Clip) else ()
        found = next((encoder for encoder in encoders if encoder.kind == kind), None)
        return None if found is None else self._open(TEXT[found.kind], _of_encoder(found))


def _instead(way: Callable[[], T]) -> Callable[[], Callable[[], T]]:
    return lambda: way


def _of_model(model: Model) -> Source:
    return Source(model.file, model.prefix, model.stored)


def _of_encoder(encoder: TextEncoder) -> Source:
    return Source(encoder.file, encoder.prefix)


def _has_bf16(gpu: torch.device) -> bool:
    """Whether a GPU has it; torch also says so of those that only imitate it, and of the current one alone."""
    return bool(torch.version.hip) or torch.cuda.get_device_properties(gpu).major >= 8


def _default_host_budget(device: torch.device) -> int:
    return 0 if device.type == "cpu" else host_budget()
