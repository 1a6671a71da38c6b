"""How values become bytes and come back exactly, for a cache on disk. Importing this does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol

from graphexec.diffusion import guiders, sources, types
from graphexec.diffusion.faults import StaleValue
from graphexec.diffusion.latents.kinds import LATENT_OPERATIONS
from graphexec.diffusion.options import OPTIONS
from graphexec.diffusion.sources import WeightsFile

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CODECS", "Codec", "StaleValue"]


class Codec(Protocol):
    """Turns values of one class into a tree of simpler values and blobs, and back."""

    @property
    def type_name(self) -> str:
        """Module and qualified name of the class."""
        ...

    def dump(self, value: Any, /) -> tuple[Any, Sequence[bytes]]:
        """The value as a tree, which may hold values of any class that has a codec, and blobs."""
        ...

    def load(self, tree: Any, blobs: list[memoryview], /) -> Any:
        """The value again; `ValueError` if it cannot be read, `StaleValue` if it no longer holds."""
        ...


@dataclass(frozen=True, slots=True)
class TensorCodec:
    """A dense tensor as a safetensors file of one tensor. Its device is no part of it: it comes back on the CPU."""

    type_name: str = "torch.Tensor"

    def dump(self, value: Tensor, /) -> tuple[Any, Sequence[bytes]]:
        """The tensor's bytes, bit for bit."""
        from safetensors.torch import save

        return None, [save({"value": value.detach().cpu().contiguous()})]

    def load(self, tree: Any, blobs: list[memoryview], /) -> Tensor:
        """The tensor, with memory of its own."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        (blob,) = blobs
        try:
            return load(bytes(blob))["value"]
        except SafetensorError as error:
            raise ValueError(f"not a tensor: {error}") from error


@dataclass(frozen=True, slots=True)
class RecordCodec:
    """A dataclass as a dict of its fields."""

    cls: type[Any]

    @property
    def type_name(self) -> str:
        """Module and qualified name of the class."""
        return f"{self.cls.__module__}.{self.cls.__qualname__}"

    def dump(self, value: Any, /) -> tuple[Any, Sequence[bytes]]:
        """The fields by name."""
        return {field.name: getattr(value, field.name) for field in fields(self.cls)}, []

    def load(self, tree: Any, blobs: list[memoryview], /) -> Any:
        """The record; a file of weights must still be as it was."""
        value = self.cls(**tree)
        if isinstance(value, WeightsFile) and not value.is_current():
            raise StaleValue(f"{value.path} has been changed or removed")
        return value


RECORDS = tuple(
    record
    for module in (sources, types, guiders)
    for name in module.__all__
    if is_dataclass(record := getattr(module, name)) and isinstance(record, type)
)
"""Every record among the sources of weights, the types and the guiders."""

CODECS: tuple[Codec, ...] = (TensorCodec(), *(RecordCodec(cls) for cls in (*RECORDS, *OPTIONS, *LATENT_OPERATIONS)))
