"""Which weight of a model each module of a LoRA file means.

Names are mapped forward, from the model's own weights to every spelling a trainer may have written: a spelling cannot
be parsed back, since `_` stands for `.` and for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from graphexec.lora.header import Shapes

__all__ = ["diffusers_names", "text_aliases", "unet_aliases"]

RES = {
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
WHOLE = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "out.2": "conv_out",
}


def unet_aliases(shapes: Shapes) -> dict[str, str]:
    """From each spelling of a UNet module in kohya's files to the name of its weight in the model."""
    modules = _modules(shapes)
    named = diffusers_names(modules)
    spelled = {_kohya("lora_unet", module): f"{module}.weight" for module in modules}
    return spelled | {_kohya("lora_unet", other): f"{module}.weight" for module, other in named.items()}


def text_aliases(shapes: Shapes) -> dict[str, str]:
    """From each spelling of a text encoder module in kohya's files to the name of its weight in the model."""
    return {_kohya("lora_te", f"text_model.{module}"): f"{module}.weight" for module in _modules(shapes)}


def diffusers_names(modules: Iterable[str]) -> dict[str, str]:
    """The name of each UNet module in diffusers' numbering, whatever levels and blocks the UNet has."""
    modules = list(modules)
    places = {module: _place(module) for module in modules}
    blocks = dict(_number_blocks(set(places.values())))
    return {module: name for module, place in places.items() if (name := _diffusers(module, place, blocks))}


def _modules(shapes: Shapes) -> list[str]:
    return [
        name.removesuffix(".weight") for name, shape in shapes.items() if name.endswith(".weight") and len(shape) > 1
    ]


def _kohya(prefix: str, module: str) -> str:
    return f"{prefix}_{module.replace('.', '_')}"


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
