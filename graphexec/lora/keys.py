"""Which layer of a model each module of a LoRA file means.

Names are mapped forward, from the model's own layers to every spelling a trainer may have written: a spelling cannot
be parsed back, since `_` stands for `.` and for itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from graphexec.lora.header import Shapes

__all__ = ["diffusers_names", "is_for_text", "text_aliases", "unet_aliases"]

RES = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
WHOLE = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}

UNET_FLAT = ("lora_unet_", "lycoris_")
"""Before names with `_` for `.`: kohya's sd-scripts, LyCORIS' wrapper."""
UNET_DOTTED = ("unet.", "", "base_model.model.", "unet.base_model.model.")
"""Before diffusers' names: diffusers, PEFT."""
TEXT_FLAT = {
    "clip_l": ("lora_te_", "lora_te1_", "lycoris_"),
    "clip_h": ("lora_te_", "lora_te1_", "lycoris_"),
    "clip_g": ("lora_te2_", "lora_te_", "lycoris_"),
}
"""The refiner's only encoder is CLIP-G, so `lora_te_` can mean it; the width of its layers tells."""
TEXT_DOTTED = {
    "clip_l": ("text_encoder.", "text_encoder.base_model.model.", "base_model.model.", ""),
    "clip_h": ("text_encoder.", "text_encoder.base_model.model.", "base_model.model.", ""),
    "clip_g": ("text_encoder_2.", "text_encoder_2.base_model.model.", "text_encoder.", "base_model.model.", ""),
}

_PROCESSOR = re.compile(r"\.(to_[qkv]|to_out)(?:\.0)?$")
_TEXT = re.compile(r"(lora_te\d?_|text_encoders?[._]|(lycoris_|(base_model\.model\.)?)text_model[._])")


def unet_aliases(shapes: Shapes) -> dict[str, str]:
    """From each spelling of a layer of the UNet to its name in the model."""
    layers = _layers(shapes)
    named = diffusers_names(layers)
    found: dict[str, str] = {}
    for layer in layers:
        for spelling in (f"diffusion_model.{layer}", *_flat(UNET_FLAT, layer)):
            found[spelling] = layer
    for layer, name in named.items():
        for spelling in (*_flat(UNET_FLAT, name), *_dotted(UNET_DOTTED, name)):
            found[spelling] = layer
        if _PROCESSOR.search(name):
            for spelling in _dotted(UNET_DOTTED, _PROCESSOR.sub(r".processor.\1", name)):
                found[spelling] = layer
    return found


def text_aliases(shapes: Shapes, kind: str = "clip_l") -> dict[str, str]:
    """From each spelling of a layer of a text encoder (`clip_l`, `clip_h` or `clip_g`) to its name in the model."""
    found: dict[str, str] = {}
    for layer in _layers(shapes):
        name = layer if layer == "text_projection" else f"text_model.{layer}"
        generic = f"text_encoders.{kind}.transformer.{name}"
        for spelling in (generic, *_flat(TEXT_FLAT[kind], name), *_dotted(TEXT_DOTTED[kind], name)):
            found[spelling] = layer
    return found


def is_for_text(module: str) -> bool:
    """Whether a module's name is that of a layer of a text encoder, whatever the model has."""
    return _TEXT.match(module) is not None


def diffusers_names(modules: Iterable[str]) -> dict[str, str]:
    """The name of each UNet module in diffusers' numbering, whatever levels and blocks the UNet has."""
    modules = list(modules)
    places = {module: _place(module) for module in modules}
    blocks = dict(_number_blocks(set(places.values())))
    return {module: name for module, place in places.items() if (name := _diffusers(module, place, blocks))}


def _layers(shapes: Shapes) -> list[str]:
    """The layers that have a weight or a bias, in the model's order."""
    ended = ((name, name.rpartition(".")) for name in shapes)
    return list(dict.fromkeys(layer for _, (layer, _, end) in ended if end in ("weight", "bias")))


def _flat(prefixes: Iterable[str], name: str) -> list[str]:
    flat = name.replace(".", "_")
    return [prefix + flat for prefix in prefixes]


def _dotted(prefixes: Iterable[str], name: str) -> list[str]:
    return [prefix + name for prefix in prefixes]


Place = tuple[str, int, int, str]
"""Part of the UNet, block, layer in the block, kind of layer."""


def _place(module: str) -> Place:
    part, *rest = module.split(".")
    if part == "middle_block":
        rest = ["0", *rest]
    if part not in ("input_blocks", "middle_block", "output_blocks") or len(rest) < 3:
        return (part, 0, 0, "whole")
    return (part, int(rest[0]), int(rest[1]), _kind(rest[2]))


def _kind(name: str) -> str:
    if name in ("in_layers", "emb_layers", "out_layers", "skip_connection"):
        return "resnets"
    return {"op": "downsamplers", "conv": "upsamplers"}.get(name, "attentions")


def _number_blocks(places: set[Place]) -> Iterator[tuple[Place, str]]:
    """Number the blocks of each level as diffusers does; a change of resolution ends a level."""
    for part, name in (("input_blocks", "down_blocks"), ("middle_block", "mid_block"), ("output_blocks", "up_blocks")):
        level, seen = 0, Counter[str]()
        for place in sorted(place for place in places if place[0] == part and place[3] != "whole"):
            kind = place[3]
            where = name if part == "middle_block" else f"{name}.{level}"
            yield place, f"{where}.{kind}.{seen[kind]}"
            seen[kind] += 1
            if kind in ("downsamplers", "upsamplers"):
                level, seen = level + 1, Counter[str]()


def _diffusers(module: str, place: Place, blocks: dict[Place, str]) -> str | None:
    if place not in blocks:
        return WHOLE.get(module)
    skipped = 2 if place[0] == "middle_block" else 3
    inner = module.split(".", skipped)[skipped]
    if place[3] == "resnets":
        return f"{blocks[place]}.{RES[inner]}" if inner in RES else None
    return f"{blocks[place]}.{'conv' if place[3] == 'downsamplers' else inner}"
