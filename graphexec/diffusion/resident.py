"""A network in memory, and the way from one recipe's weights to the next one's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from graphexec.diffusion.compiled import Compiled
from graphexec.diffusion.lorafiles import LoraReader
from graphexec.diffusion.memory import network_bytes
from graphexec.diffusion.patch import Steps, apply_steps
from graphexec.diffusion.pristine import Pristine
from graphexec.diffusion.types import LoraPatch, Patch

__all__ = ["Kept", "Resident"]

NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass
class Kept(Generic[NetworkT]):
    """A network in memory, how many use it, and what is to be undone when the last use ends."""

    network: NetworkT
    users: int = field(default=0, kw_only=True)
    on_device: bool = field(default=True, kw_only=True)
    computes: torch.dtype | None = field(default=None, kw_only=True)
    """What each layer's weights become while it computes; None where they are that already."""
    uses: ExitStack = field(default_factory=ExitStack, kw_only=True)
    compiled: Compiled | None = field(default=None, kw_only=True)

    @property
    def bytes(self) -> int:
        """What it takes."""
        return network_bytes(self.network)

    def move(self, device: torch.device, *, on_device: bool) -> None:
        """Take the weights to a device, which is the one to compute on or the host."""
        self.drop_copies()
        self.network.to(device)
        self.on_device = on_device

    def drop_copies(self) -> None:
        """Forget what only saves time."""


@dataclass
class Resident(Kept[NetworkT]):
    """A network, and the patches now in its weights."""

    base: Pristine
    reader: LoraReader = field(default_factory=LoraReader)
    rounds: bool = False
    """Whether changed weights of files of 16 bits or fewer are rounded to float16."""
    patches: tuple[Patch, ...] = ()
    """The recipe's; `applied` is what they come to."""
    applied: dict[str, Steps] = field(default_factory=dict[str, Steps])
    copies: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Pristine weights kept on a GPU, which would otherwise wait for the host at every change."""
    undone: set[str] = field(default_factory=set[str])
    """Weights in the middle of a change; one that failed stays here and is set again."""

    @property
    def bytes(self) -> int:
        """What the weights and the copies take."""
        return network_bytes(self.network) + sum(copy.nbytes for copy in self.copies.values())

    def has(self, patches: Sequence[Patch]) -> bool:
        """Whether these patches are the ones in the weights, from files that have not changed."""
        same = not self.undone and self.patches == tuple(patches)
        return same and all(patch.file.is_current() for patch in patches if isinstance(patch, LoraPatch))

    def switch(self, wanted: Mapping[str, Steps], spare: int = 0) -> tuple[str, ...]:
        """Make the weights those of the base after the steps, and return which were touched: those that differ.

        `spare`: bytes that copies on a GPU may take.
        """
        own = dict(self.network.named_parameters())
        names = (self.applied.keys() | wanted.keys() | self.undone) & own.keys()
        changed = sorted(name for name in names if name in self.undone or self.applied.get(name) != wanted.get(name))
        scratch = Scratch()
        with closing(self.reader):
            for name in changed:
                self.undone.add(name)
                base = self._pristine(name, own[name], spare)
                steps = wanted.get(name, ())
                weight = _changed(own[name].data, base, steps, self.reader, scratch)
                rounds = self.rounds and steps and base.dtype.itemsize <= 2
                own[name].data = weight.copy_(weight.half()) if rounds else weight
                self._note(name, steps)
        return tuple(changed)

    def drop_copies(self) -> None:
        """Forget the pristine weights that are kept on a GPU."""
        self.copies.clear()

    def _pristine(self, name: str, parameter: nn.Parameter, spare: int) -> Tensor:
        if name in self.copies:
            return self.copies[name]
        base = self.base.read(name).to(parameter.device).contiguous().view(parameter.shape)
        if base.device.type != "cpu" and base.nbytes + sum(copy.nbytes for copy in self.copies.values()) <= spare:
            self.copies[name] = base
        return base

    def _note(self, name: str, steps: Steps) -> None:
        self.undone.discard(name)
        if steps:
            self.applied[name] = steps
        else:
            self.applied.pop(name, None)


class Scratch:
    """One float32 buffer for weights that are kept in fewer bits, as large as the largest so far."""

    def __init__(self) -> None:
        self._flat = torch.empty(0)

    def like(self, weight: Tensor) -> Tensor:
        """Float32 memory of a weight's shape, on its device."""
        if self._flat.numel() < weight.numel() or self._flat.device != weight.device:
            self._flat = torch.empty(weight.numel(), device=weight.device)
        return self._flat[: weight.numel()].view(weight.shape)


def _changed(now: Tensor, base: Tensor, steps: Steps, read: LoraReader, scratch: Scratch) -> Tensor:
    """The weight after the steps: in the memory that it has now, unless that is the file's."""
    if not steps and base.dtype == now.dtype and base.device.type == "cpu":
        return base
    target = torch.empty_like(now) if now.data_ptr() == base.data_ptr() else now
    weight = target if target.dtype == torch.float32 and target.is_contiguous() else scratch.like(target)
    weight.copy_(base)
    after = apply_steps(weight, steps, read)
    return target if after is target else target.copy_(after)
