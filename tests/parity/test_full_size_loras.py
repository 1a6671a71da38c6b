"""Weights of a full-size SD 1.5 with LoRAs of every format, against what ComfyUI 0.3.64 makes of them in float32.

Recorded are a slice of each changed weight, and sums over the whole of it. Where ComfyUI is wrong, the right answer is
computed in float64, and ComfyUI's is checked to be what its formula gives.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import torch
from parity.agreement import Agreement, distance
from parity.lora_formulas import CONV, FF, IN, WRONG, Pair, Parts, Q, low_rank
from parity.making import DATA, make
from safetensors.torch import load_file
from torch import Tensor

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.loading import TEXT, UNET, Source, Weights
from graphexec.lora import LoraModule, list_modules
from graphexec.lora.coverage import match_modules
from graphexec.lora.header import read_header

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
class Network:
    """The UNet or the text encoder of the checkpoint; weights are read one by one."""

    weights: Weights
    aliases: Mapping[str, str]


@dataclass(frozen=True)
class Change:
    """A module of a LoRA file, at a strength."""

    lora: Lora
    module: LoraModule
    strength: float


@dataclass(frozen=True)
class Lora:
    """One LoRA file."""

    path: Path

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        return load_file(self.path)

    @cached_property
    def modules(self) -> tuple[LoraModule, ...]:
        return list_modules(read_header(self.path)).modules

    def on(self, network: Network, name: str, strength: float) -> list[Change]:
        """What it changes in a weight."""
        found = match_modules(self.modules, network.weights.shapes, network.aliases).found.get(name, ())
        return [Change(self, module, strength) for module in found]

    def parts(self, module: LoraModule) -> Parts:
        """The tensors of a module, by the ends of their names."""
        return {name.removeprefix(f"{module.name}."): self.tensors[name].double() for name in module.tensors}


@dataclass(frozen=True)
class Case:
    """A weight of the checkpoint, and what a stack of LoRAs does to it."""

    name: str
    base: Tensor
    changes: Sequence[Change]

    @property
    def is_wrong_in_comfyui(self) -> bool:
        return any(self.name in WRONG.get(change.lora.path.stem, {}) for change in self.changes)

    def ours(self) -> Tensor:
        """What the adapters make of it."""
        weight = self.base.to(torch.float32, copy=True)
        for change in self.changes:
            weight = change.module.adapter.change(weight, change.strength, change.lora.tensors.__getitem__)
        return weight

    def by_formula(self, *, comfys: bool) -> Tensor:
        """What the formulas make of it, in float64."""
        weight = self.base.double()
        for change in self.changes:
            pair = WRONG.get(change.lora.path.stem, {}).get(self.name, Pair(low_rank, low_rank))
            formula = pair.comfys if comfys else pair.right
            weight = formula(weight, change.lora.parts(change.module), change.strength)
        return weight


@dataclass(frozen=True)
class Bench:
    """The checkpoint's networks, and LoRA files by name."""

    root: Path
    networks: Mapping[str, Network]

    def case(self, tag: str, place: str) -> Case:
        """The case of a stack of LoRAs and a weight as the recording names them."""
        side = place.partition(":")[0]
        name = place.removeprefix(PREFIXES[side])
        network = self.networks[side]
        changes = [
            change
            for file, of_model, of_clip in stack(tag)
            for change in self.lora(file).on(network, name, of_model if side == "model" else of_clip)
        ]
        return Case(name, network.weights.tensor(name), changes)

    def lora(self, name: str) -> Lora:
        return Lora(make(self.root, name))


@pytest.fixture(scope="module")
def bench(full_size: Path) -> Bench:
    model, clip, _ = open_checkpoint(make(full_size, "ref_sd15"))
    encoder = clip.encoders[0]
    unet = Weights(Source(model.file, model.prefix), UNET.parts)
    text = Weights(Source(encoder.file, encoder.prefix), TEXT["clip_l"].parts)
    networks = {
        "model": Network(unet, UNET.aliases(unet.shapes)),
        "clip": Network(text, TEXT["clip_l"].aliases(text.shapes)),
    }
    return Bench(full_size, networks)


def stack(tag: str) -> tuple[tuple[str, float, float], ...]:
    """Files, each with its strengths on the model and the text encoder."""
    name, _, strength = tag.partition("@")
    return STACKS.get(tag) or ((f"ref_{name}", float(strength), float(strength)),)


def group_of(tag: str) -> str:
    """What the comparison is called in the table of docs/parity.md."""
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
        assert case.changes
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
@pytest.mark.parametrize(("tag", "name", "error"), APART)
def test_how_far_comfyui_is_off(tag: str, name: str, error: float, bench: Bench) -> None:
    case = bench.case(tag, f"{PREFIXES['model']}{name}")
    right, comfys = (case.by_formula(comfys=which) for which in (False, True))
    assert distance(comfys - case.base, right - case.base) == pytest.approx(error, abs=0.005)
