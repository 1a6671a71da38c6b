"""Which family of models a LoRA file or a network belongs to, told from shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphexec.lora.formats import LoraModule
from graphexec.lora.header import Shapes

__all__ = ["FamilyHint", "family_of_file", "family_of_model"]

BY_CONTEXT = {768: "sd1", 1024: "sd2", 1280: "sdxl_refiner", 2048: "sdxl"}
"""By the width of the text embeddings that the UNet attends to."""
BY_TEXT = {1024: "sd2", 1280: "sdxl"}
"""By the width of a text encoder, where that says something: CLIP-L (768) is SD 1.x's and SDXL's."""
NAMES = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL", "sdxl_refiner": "the SDXL refiner"}

# Transformers without a UNet around them (SD 3, Flux, LTX) name their layers alike.
_PLACE = r"(?:attentions[._]\d+|(?:input|output)_blocks[._]\d+[._]\d+|middle_block[._]\d+)"
_INNER = rf"{_PLACE}[._]transformer_blocks[._](\d+)[._]"
_CROSS = re.compile(rf"{_INNER}attn2[._](?:processor[._])?to_[kv]$")
_DEEP = re.compile(_INNER)
_SECOND = re.compile(r"lora_te2_|text_encoder_2\.|text_encoders\.clip_g\.")
_TEXT_QUERY = re.compile(r"text_model[._]encoder[._]layers[._]\d+[._]self_attn[._]q_proj$")


@dataclass(frozen=True, slots=True)
class FamilyHint:
    """A family, if the shapes tell, and the width of its text embeddings, if cross-attention is there."""

    family: str | None
    context: int | None

    def contradicts(self, other: FamilyHint) -> bool:
        """Whether both are known, and differ."""
        if self.context is not None and other.context is not None:
            return self.context != other.context
        return self.family is not None and other.family is not None and self.family != other.family

    def __str__(self) -> str:
        name = NAMES.get(self.family or "", "a model" if self.context else "a model of unknown family")
        return f"{name} (text embeddings {self.context} wide)" if self.context else name


def family_of_file(modules: Iterable[LoraModule]) -> FamilyHint:
    """The family that a LoRA was trained on."""
    modules = list(modules)
    context = _columns(modules, _CROSS)
    if context is not None:
        return FamilyHint(BY_CONTEXT.get(context), context)
    depth = max((int(found[1]) for module in modules if (found := _DEEP.search(module.name))), default=0)
    if depth >= 4 or any(_SECOND.match(module.name) for module in modules):
        return FamilyHint("sdxl", None)
    return FamilyHint(BY_TEXT.get(_columns(modules, _TEXT_QUERY) or 0), None)


def family_of_model(unet: Shapes | None, texts: Mapping[str, Shapes]) -> FamilyHint:
    """The family of a UNet and its text encoders (by kind)."""
    context = next((shape[1] for name, shape in (unet or {}).items() if name.endswith("attn2.to_k.weight")), None)
    if context is not None:
        return FamilyHint(BY_CONTEXT.get(context), context)
    by_kind = {"clip_g": "sdxl", "clip_h": "sd2", "clip_l": "sd1"}
    return FamilyHint(next((family for kind, family in by_kind.items() if kind in texts), None), None)


def _columns(modules: Iterable[LoraModule], name: re.Pattern[str]) -> int | None:
    """The columns of the first weight of such a name, as far as its adapter tells."""
    shapes = (module.adapter.shape for module in modules if name.search(module.name))
    return next((shape[1] for shape in shapes if shape is not None and len(shape) > 1), None)
