"""Patches on a network: what they do to each weight, step by step, and the weight that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from graphexec.diffusion.lorafiles import LoraReader
from graphexec.diffusion.loraheader import lora_header
from graphexec.diffusion.pristine import Pristine
from graphexec.diffusion.sources import LoraSource
from graphexec.diffusion.types import Clip, LoraPatch, MergePatch, Model, Patch, ScalePatch
from graphexec.errors import ModelFileError
from graphexec.lora.adapters.base import Product, add_products
from graphexec.lora.blocks import block_factor
from graphexec.lora.coverage import match_modules
from graphexec.lora.formats import LoraModule, list_modules
from graphexec.lora.header import Shapes, in_file

__all__ = ["Delta", "Mix", "Patching", "Scale", "Step", "Steps", "apply_steps", "longest_prefix", "patched_weight"]

UNMERGED = ("position_ids", "logit_scale")
"""What is no matter of degree."""


@dataclass(frozen=True, slots=True)
class Delta:
    """One LoRA module at a strength."""

    file: LoraSource
    module: LoraModule
    strength: float

    def apply(self, weight: Tensor, read: LoraReader) -> Tensor:
        """The weight (float32, contiguous) after the step, which may use its memory."""
        return self.module.adapter.change(weight, self.strength, lambda name: read(self.file, name, weight.device))

    def product(self, weight: Tensor, read: LoraReader) -> Product | None:
        """What the step adds, as factors, if it does nothing else."""
        return self.module.adapter.product(weight, self.strength, lambda name: read(self.file, name, weight.device))


@dataclass(frozen=True, slots=True)
class Scale:
    """The weight times a factor."""

    factor: float

    def apply(self, weight: Tensor, read: LoraReader) -> Tensor:
        """The weight (float32, contiguous) after the step, which may use its memory."""
        return weight.mul_(self.factor)


@dataclass(frozen=True, slots=True)
class Mix:
    """The weight times `own`, and the weight `name` of another network, changed by its own steps, times `strength`."""

    other: Pristine
    name: str
    steps: Steps
    strength: float
    own: float

    def apply(self, weight: Tensor, read: LoraReader) -> Tensor:
        """The weight (float32, contiguous) after the step, which may use its memory."""
        if self.own != 1:
            weight.mul_(self.own)
        if self.strength != 0:
            other = self.other.read(self.name).to(weight.device).view(weight.shape)
            other = patched_weight(other, self.steps, read) if self.steps else other.float()
            # Rounded before it is added, which `alpha=` does not do: what is alike in both cancels to exactly 0.
            weight.add_(other * self.strength)
        return weight


Step = Delta | Scale | Mix
Steps = tuple[Step, ...]


Find = Callable[[Model | Clip], Pristine | None]
"""Opens the network of another recipe that a merge names, or gives None where it has none."""

Matches = WeakKeyDictionary[Pristine, Mapping[str, tuple[LoraModule, ...]]]
"""The modules of a LoRA by the weight that they change, for each network that is open."""


@dataclass(slots=True)
class Patching:
    """Finds what patches do to each weight; a LoRA is matched with a network once, as long as both are in use."""

    matched: WeakKeyDictionary[LoraSource, Matches] = field(default_factory=WeakKeyDictionary[LoraSource, Matches])

    def steps(self, patches: Sequence[Patch], base: Pristine, find: Find) -> dict[str, Steps]:
        """The steps of a stack of patches by the weight of `base` that they change, in the stack's order.

        What does not fit is left out, as was told when the file was put on the recipe. Raises `ModelFileError` if a
        file is gone or has changed.
        """
        found: dict[str, list[Step]] = {}
        for patch in patches:
            for name, taken in self._of(patch, base, find).items():
                found.setdefault(name, []).extend(taken)
        return {name: tuple(steps) for name, steps in found.items()}

    def _of(self, patch: Patch, base: Pristine, find: Find) -> Mapping[str, Sequence[Step]]:
        match patch:
            case LoraPatch():
                modules = self._modules(patch.file, base)
                strengths = {name: patch.strength * block_factor(patch.blocks, name) for name in modules}
                return {
                    name: [Delta(patch.file, _meant(module, patch), strengths[name]) for module in found]
                    for name, found in modules.items()
                    if strengths[name] != 0
                }
            case MergePatch():
                return self._mixes(patch, base, find)
            case ScalePatch():
                return _scales(patch, base.shapes)

    def _mixes(self, patch: MergePatch, base: Pristine, find: Find) -> dict[str, list[Step]]:
        other = find(patch.other)
        if other is None:
            return {}
        steps = self.steps(patch.other.patches, other, find)
        found: dict[str, list[Step]] = {}
        for name, shape in base.shapes.items():
            ratio = None if name.endswith(UNMERGED) else longest_prefix(name, patch.ratios)
            if ratio is not None and _elements(other.shapes.get(name)) == _elements(shape):
                found[name] = [Mix(other, name, steps.get(name, ()), *ratio)]
        return found

    def _modules(self, file: LoraSource, base: Pristine) -> Mapping[str, tuple[LoraModule, ...]]:
        if not file.is_current():
            raise ModelFileError(
                f"{file.path}: the LoRA was changed or removed after it was opened; run the workflow again"
            )
        known = self.matched.setdefault(file, Matches())
        if base not in known:
            header = lora_header(file)
            with in_file(file.path):
                modules = list_modules(header).modules
                known[base] = match_modules(modules, base.shapes, base.aliases).found
        return known[base]


def apply_steps(weight: Tensor, steps: Steps, read: LoraReader) -> Tensor:
    """The weight (float32, contiguous) after the steps, which may use its memory; products in a row cost one pass."""
    products: list[Product] = []
    for step in steps:
        product = step.product(weight, read) if isinstance(step, Delta) else None
        if product is not None:
            products.append(product)
            continue
        add_products(weight, products)
        products.clear()
        weight = step.apply(weight, read)
    add_products(weight, products)
    return weight


def patched_weight(base: Tensor, steps: Steps, read: LoraReader) -> Tensor:
    """`base` after the steps, in float32 on its device; `base` itself is not touched."""
    return apply_steps(base.to(torch.float32, copy=True, memory_format=torch.contiguous_format), steps, read)


def longest_prefix(name: str, ratios: Sequence[tuple[str, float, float]]) -> tuple[float, float] | None:
    """Strength and own of the longest prefix that a name begins with."""
    fitting = [ratio for ratio in ratios if name.startswith(ratio[0])]
    return max(fitting, key=lambda ratio: len(ratio[0]))[1:] if fitting else None


def _meant(module: LoraModule, patch: LoraPatch) -> LoraModule:
    return replace(module, adapter=module.adapter.as_comfyui()) if patch.comfy else module


def _scales(patch: ScalePatch, shapes: Shapes) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = {}
    for name in shapes:
        module = name.rpartition(".")[0]
        factors = [factor for suffix, factor in patch.factors if f".{module}".endswith(f".{suffix}")]
        if factors:
            found[name] = [Scale(factors[0])]
    return found


def _elements(shape: Sequence[int] | None) -> int | None:
    return None if shape is None else torch.Size(shape).numel()
