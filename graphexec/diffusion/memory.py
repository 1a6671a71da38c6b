"""What a device and its host hold of networks' weights, and what is done when memory runs out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from graphexec.diffusion.faults import OutOfMemory

__all__ = ["device_budget", "host_budget", "network_bytes", "out_of_memory", "sent", "streamed", "within_memory"]

T = TypeVar("T")

ALLOCATION_FAILED = ("not enough memory", "can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How torch words a failed allocation where it raises no error of its own kind: on a CPU, and in libraries."""


def network_bytes(network: nn.Module) -> int:
    """Bytes of a network's weights."""
    return sum(parameter.nbytes for parameter in network.parameters())


def device_budget(device: torch.device) -> int:
    """Bytes of weights that a device may hold: four fifths of a GPU's memory, half of a computer's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory * 4 // 5
    return host_budget()


def host_budget() -> int:
    """Bytes of weights that the computer's memory may hold: half of it."""
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return sys.maxsize


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError | OutOfMemory):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ALLOCATION_FAILED)


def within_memory(compute: Callable[[], T], remedies: Sequence[Callable[[], Callable[[], T] | None]], what: str) -> T:
    """Compute; when memory runs out, take one remedy after the other and try again.

    A remedy makes room and returns what to try next, None if it could do nothing. Raises `OutOfMemory` when none is
    left; one that `compute` raises, out of such remedies of its own, is met with these.
    """
    attempt: Callable[[], T] | None = compute
    failed: BaseException | None = None
    for remedy in (*remedies, None):
        if attempt is not None:
            try:
                return attempt()
            except (RuntimeError, MemoryError, OutOfMemory) as error:  # torch.OutOfMemoryError is a RuntimeError
                if not out_of_memory(error):
                    raise
                failed = error.with_traceback(None)  # its frames hold the tensors that are in the way
        attempt = remedy() if remedy is not None else None
    if isinstance(failed, OutOfMemory):
        raise failed
    raise OutOfMemory(
        f"{what} does not fit in memory ({str(failed).splitlines()[0]}); make the picture or the batch smaller, use"
        " tiled VAE nodes, compute in fp16 or bf16, or close what else uses the memory"
    ) from failed


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; one of the host's from pinned memory, so that the host need not wait for a GPU."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextmanager
def streamed(network: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> Generator[None]:
    """Lets a network whose weights lie elsewhere, or in fewer bits, compute on `device` in `dtype` (None: as they are).

    Each layer's weights are so while it computes.
    """
    handles: list[Any] = []
    for layer in network.modules():
        if any(True for _ in layer.parameters(recurse=False)):
            lent = _Lent(device, dtype)
            handles.append(layer.register_forward_pre_hook(lent.bring))
            handles.append(layer.register_forward_hook(lent.take_back, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Lent:
    """The weights of one layer while it computes elsewhere."""

    def __init__(self, device: torch.device, dtype: torch.dtype | None) -> None:
        self.device, self.dtype = device, dtype
        self.home: list[tuple[nn.Parameter, Tensor]] = []

    def bring(self, layer: nn.Module, inputs: object) -> None:
        self.home = [(parameter, parameter.data) for parameter in layer.parameters(recurse=False)]
        for parameter, data in self.home:
            parameter.data = data.to(self.device, self.dtype, non_blocking=True)

    def take_back(self, layer: nn.Module, inputs: object, output: object) -> None:
        for parameter, data in self.home:
            parameter.data = data
        self.home = []
