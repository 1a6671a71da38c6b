"""The modules in a LoRA file, found in its header: which kind of change each holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from graphexec.errors import ModelFileError
from graphexec.lora.adapters.base import Adapter, Additive, Part
from graphexec.lora.adapters.boft import Boft, PeftBoft
from graphexec.lora.adapters.diff import BiasDiff, Diff, SetWeight
from graphexec.lora.adapters.dora import Dora
from graphexec.lora.adapters.glora import Glora
from graphexec.lora.adapters.ia3 import Ia3, PeftIa3, PeftIa3Bias
from graphexec.lora.adapters.loha import Loha
from graphexec.lora.adapters.lokr import Lokr
from graphexec.lora.adapters.lora import Lora
from graphexec.lora.adapters.oft import Oft, PeftOft
from graphexec.lora.header import Header
from graphexec.lora.metadata import PeftSettings
from graphexec.lora.parts import split_name

__all__ = ["LoraFile", "LoraModule", "Target", "known_modules", "list_modules"]

Target = Literal["weight", "bias"]

KINDS: tuple[type[Adapter], ...] = (
    Lora,
    Loha,
    Lokr,
    Glora,
    Oft,
    Boft,
    PeftOft,
    PeftBoft,
    Ia3,
    PeftIa3,
    Diff,
    SetWeight,
)
TRAINED_NAMES = ("lora_", "lycoris_")
"""What LyCORIS' module names begin with; anywhere else, a tensor that ends in `.weight` is a weight and no IA3."""


@dataclass(frozen=True, slots=True)
class LoraModule:
    """One change of one weight or bias: `name` is the layer as the file spells it."""

    name: str
    adapter: Adapter
    target: Target = "weight"
    optional: bool = False
    """Whether it is no loss if the model's layer has no such bias."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of its tensors in the file."""
        return self.adapter.tensors

    @property
    def kind(self) -> str:
        """The kind of change: `lora`, `loha`, `dora` and so on."""
        return type(self.adapter).__name__.lower()


@dataclass(frozen=True, slots=True)
class LoraFile:
    """The modules of a file, and the names of the tensors that belong to none."""

    modules: tuple[LoraModule, ...]
    strangers: tuple[str, ...]


def list_modules(header: Header) -> LoraFile:
    """Find the modules of a LoRA file; `ModelFileError` if its metadata cannot be read.

    Of two tensors for one part of a module (in two formats, or of two of PEFT's adapters) the first counts.
    """
    parts: dict[str, dict[str, Part]] = {}
    strangers: list[str] = []
    for tensor, shape in header.shapes.items():
        split = split_name(tensor)
        if split is None or (split[1] == "ia3" and not _may_be_ia3(split[0], header)):
            strangers.append(tensor)
            continue
        module, part = split
        if part in parts.setdefault(module, {}):
            strangers.append(tensor)
        else:
            parts[module][part] = Part(tensor, shape)
    settings = PeftSettings(header.metadata)
    modules: list[LoraModule] = []
    for name, found in parts.items():
        modules += _build(name, found, settings.of(name))
        strangers += [part.tensor for part in found.values()]
    return LoraFile(tuple(modules), tuple(strangers))


def known_modules(header: Header) -> LoraFile:
    """As `list_modules`; `ModelFileError` if there is none."""
    file = list_modules(header)
    if not file.modules:
        sample = ", ".join(repr(name) for name in file.strangers[:3]) or "no tensor at all"
        raise ModelFileError(
            "this is no LoRA of a format that is known (LoRA, LoCon, LoHa, LoKr, DoRA, GLoRA, OFT, BOFT, IA3, full"
            f" differences; of kohya, LyCORIS, diffusers or PEFT): it holds {sample}"
        )
    return file


def _may_be_ia3(name: str, header: Header) -> bool:
    return name.startswith(TRAINED_NAMES) or f"{name}.on_input" in header.tensors


def _build(name: str, parts: dict[str, Part], settings: Mapping[str, Any]) -> Iterator[LoraModule]:
    """The modules that the parts of one layer make; takes what it uses out of `parts`."""
    if "ia3_l" in parts:
        yield LoraModule(name, PeftIa3Bias({"ia3_l": parts["ia3_l"]}, settings), "bias", optional=True)
    for kind in KINDS:
        needed = kind.needed(parts)
        if needed is None:
            continue
        adapter = kind(_take(parts, needed | kind.TAKES), settings)
        magnitude = next((part for part in ("dora_scale", "magnitude") if part in parts), None)
        if magnitude and isinstance(adapter, Additive):
            adapter = Dora.over(adapter, magnitude, parts.pop(magnitude))
        yield LoraModule(name, adapter)
    if (needed := BiasDiff.needed(parts)) is not None:
        yield LoraModule(name, BiasDiff(_take(parts, needed), settings), "bias")


def _take(parts: dict[str, Part], names: Iterable[str]) -> dict[str, Part]:
    return {name: parts.pop(name) for name in sorted(names) if name in parts}
