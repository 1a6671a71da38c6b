"""Weights of a full-size SD 1.5 with LoRAs of every format, and merged, against what ComfyUI 0.3.64 makes of them.

Recorded, in float32, are a slice of each changed weight and sums over the whole of it. Where ComfyUI is wrong, the
right answer is computed in float64, and ComfyUI's is checked to be what its formula gives.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from parity.agreement import Agreement, Place, distance
from parity.lora_formulas import CONV, FF, IN, WRONG, Pair, Parts, Q, low_rank
from parity.making import DATA, make
from safetensors.torch import load_file
from torch import Tensor

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.loras import as_comfyui
from graphexec.diffusion.merge import add, interpolate, interpolate_blocks, subtract
from graphexec.diffusion.patch import Delta, LoraReader, Mix, Patching, Steps, patched_weight
from graphexec.diffusion.pristine import Pristine, opened
from graphexec.diffusion.types import Clip, Model, Patch

RECORDED = load_file(DATA / "lora_slices.safetensors")
TOLERANCE = 1e-6
PREFIXES = {"model": "model:diffusion_model.", "clip": "clip:clip_l.transformer.text_model."}
STACKS: Mapping[str, tuple[tuple[str, float, float], ...]] = {
    "stack3:kohya_alpha(.8,.6)+loha(-.5,1)+locon(1.2,.3)": (
        ("ref_kohya_alpha", 0.8, 0.6),
        ("ref_loha", -0.5, 1.0),
        ("ref_locon", 1.2, 0.3),
    ),
    "dora@.8+kohya_alpha@.8": (("ref_dora", 0.8, 0.8), ("ref_kohya_alpha", 0.8, 0.8)),
    "set_weight@.8+kohya_alpha@.8": (("ref_set_weight", 0.8, 0.8), ("ref_kohya_alpha", 0.8, 0.8)),
}
"""Files, each with its strengths on the model and on the text encoder."""
TUCKER = "lokr_fixed@"
"""What LoKr with a Tucker decomposition should give, recorded apart: ComfyUI leaves the weight as it is."""
APART = (
    ("dora@1.0", Q, 0.207),
    ("dora@1.0", CONV, 0.203),
    ("oft@1.0", Q, 0.538),
    ("oft@1.0", CONV, 0.463),
    ("oft_noalpha@0.8", Q, 0.2),
    ("oft_noalpha@1.0", Q, 0.0),
    ("boft@1.0", Q, 0.752),
    ("boft@1.0", FF, 1.0),
    ("lokr@1.0", CONV, 1.0),
    ("full_diff@1.0", IN, 1.0),
)
"""How far ComfyUI's change of a weight is from the right one, relative to it."""


@dataclass(frozen=True)
class Case:
    """A weight of the checkpoint, and what a recipe does to it."""

    name: str
    base: Tensor
    steps: Steps
    device: torch.device

    @property
    def is_wrong_in_comfyui(self) -> bool:
        return any(self.name in WRONG.get(delta.file.path.stem, {}) for delta in deltas(self.steps))

    def ours(self) -> Tensor:
        """What the adapters make of it."""
        return patched_weight(self.base.to(self.device), self.steps, LoraReader()).cpu()

    def by_formula(self, *, comfys: bool) -> Tensor:
        """What the formulas make of it, in float64."""
        return by_formula(self.name, self.base, self.steps, comfys=comfys)


@dataclass(frozen=True)
class Bench:
    """The recipes of the checkpoint, its weights, which are read one by one, and LoRA files by name."""

    root: Path
    model: Model
    clip: Clip
    unet: Pristine
    text: Pristine
    device: torch.device

    def case(self, tag: str, place: str) -> Case:
        """The case of what was done and a weight, both as the recording names them."""
        side = place.partition(":")[0]
        name = place.removeprefix(PREFIXES[side])
        base, recipe = (self.unet, self.on_model(tag)) if side == "model" else (self.text, self.on_clip(tag))
        return Case(name, base.read(name), self.steps(base, recipe.patches)[name], self.device)

    def steps(self, base: Pristine, patches: tuple[Patch, ...]) -> dict[str, Steps]:
        return Patching().steps(patches, base, lambda other: self.unet)

    def on_model(self, tag: str) -> Model:
        if tag.startswith("ModelMerge"):
            return merged(tag, self.on_model("full_diff@1.0"), self.on_model("kohya_alpha@1.0"))
        model = self.model
        for file, strength, _ in stack(tag):
            model = model.patched(make(self.root, file), strength)
        return model

    def on_clip(self, tag: str) -> Clip:
        clip = self.clip
        for file, _, strength in stack(tag):
            clip = clip.patched(make(self.root, file), strength)
        return clip


@pytest.fixture(scope="module")
def bench(full_size: Path, place: Place) -> Bench:
    model, clip, _ = open_checkpoint(make(full_size, "ref_sd15"))
    return Bench(full_size, model, clip, opened(model)[""], opened(clip)["clip_l"], torch.device(place.device))


def stack(tag: str) -> tuple[tuple[str, float, float], ...]:
    name, _, strength = tag.partition("@")
    return STACKS.get(tag) or ((f"ref_{name}", float(strength), float(strength)),)


def merged(tag: str, m2: Model, m3: Model) -> Model:
    return {
        "ModelMergeSimple(m2=full_diff,m3=kohya,ratio=.3)": lambda: interpolate(m2, m3, 0.3),
        "ModelMergeSubtract(m3,m2,.7)": lambda: subtract(m3, m2, 0.7),
        "ModelMergeAdd(m2,m3)": lambda: add(m2, m3),
        "ModelMergeBlocks(m2,m3,input=.2,middle=.5,out=.9)": lambda: interpolate_blocks(
            m2, m3, {"input": 0.2, "middle": 0.5, "out": 0.9}
        ),
    }[tag]()


def deltas(steps: Steps) -> Iterator[Delta]:
    """The LoRA modules in steps, and in those of networks that are mixed in."""
    for step in steps:
        if isinstance(step, Delta):
            yield step
        elif isinstance(step, Mix):
            yield from deltas(step.steps)


def by_formula(name: str, base: Tensor, steps: Steps, *, comfys: bool) -> Tensor:
    weight = base.double()
    for step in steps:
        if isinstance(step, Delta):
            pair = WRONG.get(step.file.path.stem, {}).get(name, Pair(low_rank, low_rank))
            weight = (pair.comfys if comfys else pair.right)(weight, parts(step), step.strength)
        elif isinstance(step, Mix):
            other = by_formula(name, step.other.read(name), step.steps, comfys=comfys)
            weight = weight * step.own + other * step.strength
    return weight


def parts(delta: Delta) -> Parts:
    """The tensors of a module, by the ends of their names."""
    read = LoraReader()
    module = delta.module
    return {name.removeprefix(f"{module.name}."): read(delta.file, name).double() for name in module.tensors}


def group_of(tag: str) -> str:
    """What the comparison is called in the table of docs/parity.md."""
    if tag.startswith("ModelMerge"):
        return f"LoRA, {tag.partition('(')[0]}"
    return f"LoRA, {'stacks' if tag in STACKS else tag.partition('@')[0]}"


def cut(weight: Tensor) -> Tensor:
    """The slice of a weight that is recorded."""
    if weight.ndim == 4:
        side = 8 if weight.shape[2] == 3 else 16
        return weight[:side, :side]
    return torch.cat([weight[:16, :16], weight[-16:, -16:]]) if weight.ndim == 2 else weight[:64]


def sums(weight: Tensor) -> Tensor:
    """The sums of a weight's elements, of their sizes and squares, and weighted by the cosines of their numbers."""
    flat = weight.double().flatten()
    waves = torch.arange(len(flat), dtype=torch.float64).cos()
    return torch.stack([flat.sum(), flat.abs().sum(), flat.square().sum(), (flat * waves).sum()])


def keys_of(tag: str) -> list[str]:
    return [key.removesuffix("|sums") for key in RECORDED if key.startswith(f"{tag}|") and key.endswith("|sums")]


def recorded(weight: Tensor, key: str) -> Iterator[tuple[Tensor, Tensor]]:
    """What is compared of a weight, each beside its recording."""
    yield sums(weight), RECORDED[f"{key}|sums"]
    if key in RECORDED:
        yield cut(weight), RECORDED[key]


@pytest.mark.parity
@pytest.mark.parametrize("tag", dict.fromkeys(key.partition("|")[0] for key in RECORDED if key.endswith("|sums")))
def test_weights(tag: str, bench: Bench, agrees: Agreement) -> None:
    for key in keys_of(tag):
        case = bench.case(tag, key.partition("|")[2])
        if case.is_wrong_in_comfyui:
            agrees(f"{group_of(tag)}: definition", case.ours(), case.by_formula(comfys=False), TOLERANCE)
            comfys = case.by_formula(comfys=True)
            assert all(distance(mine, theirs) <= TOLERANCE for mine, theirs in recorded(comfys, key))
        else:
            for ours, theirs in recorded(case.ours(), key):
                agrees(group_of(tag), ours, theirs, TOLERANCE)


@pytest.mark.parity
@pytest.mark.parametrize("key", [key for key in RECORDED if key.startswith(TUCKER)])
def test_the_right_lokr_tucker(key: str, bench: Bench, agrees: Agreement) -> None:
    tag, _, place = key.partition("|")
    ours = bench.case(tag.replace("lokr_fixed", "lokr"), place).ours()
    agrees("LoRA, lokr with a core", cut(ours), RECORDED[key], TOLERANCE)


@pytest.mark.parity
@pytest.mark.parametrize("tag", ["dora@0.8", "dora@-0.5", "dora@1.0", "dora@.8+kohya_alpha@.8"])
def test_dora_as_comfyui(tag: str, bench: Bench, agrees: Agreement) -> None:
    model, clip = as_comfyui(bench.on_model(tag)), as_comfyui(bench.on_clip(tag))
    steps = {"model": bench.steps(bench.unet, model.patches), "clip": bench.steps(bench.text, clip.patches)}
    for key in keys_of(tag):
        case = bench.case(tag, key.partition("|")[2])
        side = key.partition("|")[2].partition(":")[0]
        for ours, theirs in recorded(replace(case, steps=steps[side][case.name]).ours(), key):
            agrees("LoRA, dora as ComfyUI", ours, theirs, TOLERANCE)


@pytest.mark.parity
@pytest.mark.parametrize(("tag", "name", "error"), APART)
def test_how_far_comfyui_is_off(tag: str, name: str, error: float, bench: Bench) -> None:
    case = bench.case(tag, f"{PREFIXES['model']}{name}")
    right, comfys = (case.by_formula(comfys=which) for which in (False, True))
    assert distance(comfys - case.base, right - case.base) == pytest.approx(error, abs=0.005)
