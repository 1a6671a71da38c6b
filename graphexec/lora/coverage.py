"""How much of a LoRA file finds a weight in a model, and of which family both are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from graphexec.errors import ModelFileError
from graphexec.lora.formats import LoraModule, read_modules
from graphexec.lora.header import Header, Shapes, in_file, read_header
from graphexec.lora.keys import text_aliases, unet_aliases

__all__ = ["Coverage", "lora_coverage", "lora_facts", "match_modules"]

FAMILIES = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}
SHORT = {768: "sd1", 1024: "sd2", 2048: "sdxl"}


@dataclass(frozen=True, slots=True)
class Coverage:
    """Tensors of a LoRA file that change a weight, and those that change none; modules by the weight they change."""

    unet: Mapping[str, LoraModule]
    text: Mapping[str, LoraModule]
    used: tuple[str, ...]
    unused: tuple[str, ...]

    def warnings(self) -> tuple[str, ...]:
        """What to tell the user: nothing when the whole file is used."""
        if not self.unused:
            return ()
        total = len(self.used) + len(self.unused)
        names = ", ".join(self.unused[:3]) + (", …" if len(self.unused) > 3 else "")
        return (f"{len(self.unused)} of {total} tensors in the LoRA change nothing in this model: {names}",)


def lora_coverage(unet: Shapes | None, text: Shapes | None, lora: Header) -> Coverage:
    """Match a LoRA file with the weights of a UNet and a text encoder (their names without prefixes).

    None leaves that network out, and what the file has for it counts as used. Raises `ModelFileError` if nothing
    matches, or if a module does not fit the weight it matches: the file is then for another family of models.
    """
    modules, strangers = _read(lora)
    in_unet = match_modules(lora.shapes, unet or {}, unet_aliases(unet or {}))
    in_text = match_modules(lora.shapes, text or {}, text_aliases(text or {}))
    matched = {module.name for module in (*in_unet.values(), *in_text.values())}
    aside = {name for name in modules if _left_out(name, unet, text)}
    if not matched | aside:
        raise ModelFileError(f"this LoRA changes nothing in this model: {_families(modules, unet or {})}")
    known = [module for name, module in modules.items() if name in matched | aside]
    lost = [module for name, module in modules.items() if name not in matched | aside]
    return Coverage(in_unet, in_text, _tensors(known), (*_tensors(lost), *strangers))


def match_modules(lora: Shapes, network: Shapes, aliases: Mapping[str, str]) -> dict[str, LoraModule]:
    """The modules of a LoRA file by the weight of a network that each changes; `aliases` give a module's weight.

    Raises `ModelFileError` if a module does not fit its weight, or has parts of a format that is not known.
    """
    modules, strangers = read_modules(lora)
    matched = {aliases[name]: module for name, module in modules.items() if name in aliases}
    for weight, module in matched.items():
        _check_fit(module, weight, network, modules)
    for tensor in strangers:
        _check_stranger(tensor, aliases)
    return matched


def lora_facts(path: Path) -> dict[str, int | str | bool | None]:
    """What is known of a LoRA file without reading a weight; `rank` is its largest."""
    header = read_header(path)
    with in_file(path):
        modules, strangers = _read(header)
    width = _context_width(modules)
    return {
        "family": SHORT.get(width or 0),
        "context_width": width,
        "rank": max((module.rank for module in modules.values()), default=None),
        "modules": len(modules),
        "unet": any(name.startswith("lora_unet_") for name in modules),
        "text_encoder": any(name.startswith("lora_te") for name in modules),
        "unknown_tensors": len(strangers),
    }


def _read(header: Header) -> tuple[dict[str, LoraModule], tuple[str, ...]]:
    modules, strangers = read_modules(header.shapes)
    if not modules:
        sample = ", ".join(repr(name) for name in strangers[:3]) or "no tensor at all"
        raise ModelFileError(
            "this is no LoRA in kohya's format, the only one that is read: there is no pair of `.lora_up.weight` and"
            f" `.lora_down.weight` in it, but {sample}"
        )
    return modules, strangers


def _left_out(name: str, unet: Shapes | None, text: Shapes | None) -> bool:
    return (unet is None and name.startswith("lora_unet_")) or (text is None and name.startswith("lora_te"))


def _tensors(modules: Iterable[LoraModule]) -> tuple[str, ...]:
    return tuple(tensor for module in modules for tensor in module.tensors)


def _check_fit(module: LoraModule, weight: str, network: Shapes, modules: Mapping[str, LoraModule]) -> None:
    shape = network[weight]
    if (module.out_features, module.in_features) != shape[:2] or module.elements != math.prod(shape):
        raise ModelFileError(
            f"LoRA module {module.name!r} changes a weight of {module.out_features} x {module.in_features}, the"
            f" model's {weight!r} is {' x '.join(map(str, shape))}: {_families(modules, network)}"
        )


def _check_stranger(tensor: str, aliases: Mapping[str, str]) -> None:
    """Half of what a module does to a weight would give a picture, and the wrong one."""
    module, _, part = tensor.partition(".")
    if module in aliases:
        raise ModelFileError(f"LoRA module {module!r} has {part!r}, which is of a format that is not known")


def _families(modules: Mapping[str, LoraModule], network: Shapes) -> str:
    width = next((shape[1] for name, shape in network.items() if name.endswith("attn2.to_k.weight")), None)
    return f"the LoRA is for {_family(_context_width(modules))}, the model is {_family(width)}"


def _context_width(modules: Mapping[str, LoraModule]) -> int | None:
    return next((m.in_features for name, m in modules.items() if name.endswith("attn2_to_k")), None)


def _family(width: int | None) -> str:
    if width is None:
        return "a model of unknown family"
    return FAMILIES.get(width, "a model") + f" (text embeddings {width} wide)"
