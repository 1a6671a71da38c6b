"""Files of networks that steer a UNet, opened as recipes; no weight is read, and torch is not imported."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from graphexec.diffusion.checkpoint import read_unet
from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.listing import list_file
from graphexec.diffusion.models.control_layout import AdapterLayout, adapter_layout, controlnet_layout
from graphexec.diffusion.models.layout import UNetLayout
from graphexec.diffusion.models.names import unet_parts
from graphexec.diffusion.shapes import network_shapes
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import ControlNet, Model
from graphexec.errors import ModelFileError
from graphexec.lora.header import Shapes, in_file, read_header

__all__ = ["ControlFile", "check_base", "check_family", "open_controlnet", "read_control"]

ControlKind = Literal["controlnet", "control_lora", "adapter"]

LDM = "control_model."
MARKS = {
    "lora_controlnet": "a control-LoRA",
    "zero_convs.0.0.weight": "a ControlNet",
    "controlnet_cond_embedding.conv_in.weight": "a ControlNet as diffusers names it",
    "body.0.block1.weight": "a T2I-Adapter",
}
OTHERS = (
    ("lllite_", "a ControlLLLite, which no node of ComfyUI's own reads"),
    ("base_model.model.", "a control-LoRA trained by PEFT, which is not read"),
    ("style_embedding", "a style model: load it with StyleModelLoader"),
    ("controlnet_x_embedder.", "a ControlNet for Flux"),
    ("double_blocks.", "a ControlNet for Flux"),
    ("transformer_blocks.", "a ControlNet for Stable Diffusion 3"),
    ("lora_unet_", "a LoRA"),
    ("model.diffusion_model.", "a checkpoint"),
)


@dataclass(frozen=True, slots=True)
class ControlFile:
    """What lies in a file: `names` says what it calls each weight, `shapes` are by the network's own names.

    A `difference` is to be added to the weights of a UNet, as are the products of a control-LoRA.
    """

    kind: ControlKind
    prefix: str
    names: Mapping[str, str]
    shapes: Shapes
    difference: bool = False

    @property
    def needs_base(self) -> bool:
        """Whether it is nothing without the UNet that it steers."""
        return self.difference or self.kind == "control_lora"

    @property
    def parameters(self) -> int:
        """How many numbers there are in all."""
        return sum(map(math.prod, self.shapes.values()))


def open_controlnet(path: Path, model: Model | None = None) -> ControlNet:
    """The ControlNet, control-LoRA or T2I-Adapter in a file; a difference is one to `model`.

    Without `model`, a difference is added to whichever model it steers, as a control-LoRA always is. Raises
    `ModelFileError` if the file is damaged or none of these.
    """
    file = WeightsFile.of(path)
    found = read_control(file)
    with in_file(path):
        _check_layout(found)
        if model is not None and found.difference:
            check_base(found, model)
    return ControlNet(file, found.prefix, base=model if found.difference else None)


@lru_cache(maxsize=32)  # asked at every step of a run; the files are named as they are
def read_control(file: WeightsFile) -> ControlFile:
    """What lies in a file, told by the names in its header."""
    shapes = read_header(file.path).shapes
    with in_file(file.path):
        prefix = LDM if f"{LDM}zero_convs.0.0.weight" in shapes else ""
        stored = {name[len(prefix) :]: name for name in shapes if name.startswith(prefix)}
        if "lora_controlnet" in stored:
            del stored["lora_controlnet"]
            return _file("control_lora", prefix, stored, shapes)
        if "controlnet_cond_embedding.conv_in.weight" in stored:
            return _file("controlnet", prefix, dict(_diffusers_names(shapes)), shapes)
        if "zero_convs.0.0.weight" in stored:
            difference = "difference" in shapes
            stored.pop("difference", None)
            return _file("controlnet", prefix, stored, shapes, difference)
        adapter = dict(_adapter_names(stored))
        if "body.0.block1.weight" in adapter or "body.0.body.0.block1.weight" in adapter:
            return _file("adapter", prefix, adapter, shapes)
        raise ModelFileError(_unknown(shapes))


def check_family(net: ControlNet, model: Model) -> None:
    """Raise `ModelFileError` if the headers of two files say that a network steers models of another family.

    What is added to the weights of the model it steers says nothing of its own.
    """
    file, name = read_control(net.file), model.file.path.name
    if file.needs_base:
        return
    _family, unet, _sampling = read_unet(list_file(model.file.path, allow_pickle=True), model.prefix)
    if file.kind == "adapter":
        with in_file(net.file.path):
            _check_adapter(adapter_layout(file.shapes), unet, model)
    else:
        own = controlnet_layout(file.shapes).encoder
        if (own.context_width, own.vector_width) != (unet.context_width, unet.vector_width):
            raise ModelFileError(
                f"{net.file.path}: this is a ControlNet for models with prompts {own.context_width} wide, and {name} is"
                f" {FAMILIES[model.family].title}, with prompts {unet.context_width} wide"
            )


def _check_adapter(adapter: AdapterLayout, unet: UNetLayout, model: Model) -> None:
    if adapter.xl != (model.family == "sdxl"):
        wanted = "SDXL" if adapter.xl else "SD 1.x and 2.x"
        raise ModelFileError(f"the T2I-Adapter is for {wanted}, the model {model.file.path.name} is {model.family}")
    theirs = dict(enumerate(unet.input_widths))
    unfit = [(width, theirs[at]) for at, width in adapter.widths.items() if theirs.get(at, width) != width]
    if unfit:
        raise ModelFileError(
            f"the T2I-Adapter adds maps of {unfit[0][0]} channels where the model {model.file.path.name}, which is"
            f" {FAMILIES[model.family].title}, has {unfit[0][1]}: it is for another family"
        )


def check_base(file: ControlFile, model: Model) -> None:
    """Raise `ModelFileError` if a difference is one to another UNet than the model's."""
    shapes = network_shapes(model)
    unfit = [name for name, shape in file.shapes.items() if shapes.get(name, shape) != shape]
    if unfit:
        name = unfit[0]
        raise ModelFileError(
            f"this difference is one to another family of models than {model.file.path.name}: {name!r} is"
            f" {file.shapes[name]} here and {shapes[name]} there"
        )


def _file(
    kind: ControlKind, prefix: str, names: Mapping[str, str], shapes: Shapes, difference: bool = False
) -> ControlFile:
    empty = next((name for name in names.values() if 0 in shapes[name]), None)
    if empty is not None:
        raise ModelFileError(f"the weight {empty!r} has the shape {shapes[empty]}, which holds nothing")
    return ControlFile(kind, prefix, names, {own: shapes[name] for own, name in names.items()}, difference)


def _check_layout(file: ControlFile) -> None:
    """Raise `ModelFileError` for what the network cannot be built without."""
    if file.kind == "adapter":
        adapter_layout(file.shapes)
    elif file.kind == "controlnet":
        controlnet_layout(file.shapes)


_HINT = re.compile(r"controlnet_cond_embedding\.(?:(conv_in)|blocks\.(\d+)|(conv_out))\.(weight|bias)")
_OUTPUT = re.compile(r"controlnet_(?:down_blocks\.(\d+)|(mid_block))\.(weight|bias)")


def _diffusers_names(shapes: Shapes) -> Iterator[tuple[str, str]]:
    """A ControlNet's own names where diffusers wrote it; what a union ControlNet has besides is named alike."""
    blocks = sum(1 for name in shapes if (match := _HINT.fullmatch(name)) and match[2] and match[4] == "weight")
    for name, part in unet_parts(shapes).items():
        if match := _HINT.fullmatch(name):
            number = 0 if match[1] else 1 + (blocks if match[3] else int(match[2]))
            yield f"input_hint_block.{2 * number}.{match[4]}", part.name
        elif match := _OUTPUT.fullmatch(name):
            at = "middle_block_out" if match[2] else f"zero_convs.{match[1]}"
            yield f"{at}.0.{match[3]}", part.name
        else:
            yield name, part.name


_RESNET = re.compile(r"body\.(\d+)\.resnets\.(\d+)\.(.+)")
_IN_CONV = re.compile(r"body\.(\d+)\.in_conv\.(.+)")


def _adapter_names(stored: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A T2I-Adapter's own names; diffusers nests the residual blocks of a level, TencentARC numbers all of them."""
    bare = {name.removeprefix("adapter."): stored_name for name, stored_name in stored.items()}
    light = "body.0.out_conv.weight" in bare
    nested = [match for name in bare if (match := _RESNET.fullmatch(name))]
    per_level = 1 + max((int(match[2]) for match in nested), default=0)
    for name, stored_name in bare.items():
        if match := _RESNET.fullmatch(name):
            level, i, rest = int(match[1]), int(match[2]), match[3]
            yield f"body.{level}.body.{i}.{rest}" if light else f"body.{level * per_level + i}.{rest}", stored_name
        elif nested and not light and (match := _IN_CONV.fullmatch(name)):
            yield f"body.{int(match[1]) * per_level}.in_conv.{match[2]}", stored_name
        else:
            yield name, stored_name


def _unknown(shapes: Shapes) -> str:
    looked_for = ", ".join(f"{mark!r} ({what})" for mark, what in MARKS.items())
    other = next((what for start, what in OTHERS if any(name.startswith(start) for name in shapes)), None)
    sample = ", ".join(repr(name) for name in list(shapes)[:3]) or "nothing: the file is empty"
    looks = f"it looks like {other}" if other else f"its names begin with {sample}"
    return f"this steers no model that is known: it holds none of {looked_for}; {looks}"
