"""What lycoris-lora and peft make of LoRA modules: live where they are installed, recorded in tests/data otherwise.

`python tests/lora/oracles.py` records anew. What is compared is the weight that a layer acts with, found by giving the
layer impulses, since LyCORIS' own merging scales LoHa and LoKr twice.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

RECORDED = Path(__file__).parents[1] / "data" / "lora" / "oracles.safetensors"
NAME = "lora_unet_m"


@dataclass(frozen=True)
class Case:
    """A LoRA file's tensors and metadata, a weight and its bias, and what becomes of them at a strength."""

    name: str
    layer: str
    tensors: Mapping[str, Tensor]
    base: Mapping[str, Tensor]
    expected: Mapping[str, Tensor]
    strength: float = 1.0
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


def acting_weight(layer: Any, like: nn.Module) -> dict[str, Tensor]:
    """The weight and bias with which a layer (linear, or convolution of kernel k with padding) acts."""
    weight: Any = like.weight
    if weight.ndim == 2:
        bias = layer(torch.zeros(1, weight.shape[1]))[0]
        return {"weight": (layer(torch.eye(weight.shape[1])) - bias).T.contiguous(), "bias": bias}
    side = weight.shape[2]
    impulses = torch.zeros(weight.shape[1], weight.shape[1], side, side)
    impulses[range(len(impulses)), range(len(impulses)), side // 2, side // 2] = 1
    bias = layer(torch.zeros(1, *impulses.shape[1:]))[0, :, 0, 0]
    answers = layer(impulses) - bias.reshape(1, -1, 1, 1)
    return {"weight": answers.transpose(0, 1).flip(2, 3).contiguous(), "bias": bias}


def layer_of(kind: str) -> nn.Module:
    """A layer with a bias: linear 12 -> 16, square 16 -> 16, conv 6 -> 8 of kernel 3, point of kernel 1."""
    torch.manual_seed(7)
    layers = {
        "linear": lambda: nn.Linear(12, 16),
        "square": lambda: nn.Linear(16, 16),
        "conv": lambda: nn.Conv2d(6, 8, 3, padding=1),
        "point": lambda: nn.Conv2d(6, 8, 1),
    }
    return layers[kind]()


def randomize(parameters: Iterator[tuple[str, Tensor]], spread: float, seed: int) -> None:
    """Give every parameter of an adapter values, around 1 where it multiplies."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in parameters:
        mean = 1.0 if any(part in name for part in ("dora_scale", "rescale", "magnitude", "boft_s", "ia3_l")) else 0.0
        parameter.data = mean + spread * torch.randn(parameter.shape, generator=generator)


LYCORIS: dict[str, tuple[str, str, float, dict[str, Any]]] = {
    "lora": ("locon.LoConModule", "linear", 0.4, {}),
    "locon": ("locon.LoConModule", "conv", 0.4, {}),
    "locon point": ("locon.LoConModule", "point", 0.4, {}),
    "locon cp": ("locon.LoConModule", "conv", 0.4, {"use_tucker": True}),
    "lora rs": ("locon.LoConModule", "linear", 0.4, {"rs_lora": True}),
    "loha": ("loha.LohaModule", "linear", 0.6, {}),
    "loha conv": ("loha.LohaModule", "conv", 0.6, {}),
    "loha tucker": ("loha.LohaModule", "conv", 0.6, {"use_tucker": True}),
    "lokr": ("lokr.LokrModule", "linear", 0.5, {"factor": 4, "lora_dim": 1}),
    "lokr both": ("lokr.LokrModule", "linear", 0.5, {"factor": 4, "lora_dim": 1, "decompose_both": True}),
    "lokr full": ("lokr.LokrModule", "linear", 0.5, {"factor": 4, "lora_dim": 10000}),
    "lokr conv": ("lokr.LokrModule", "conv", 0.5, {"factor": 4, "lora_dim": 1}),
    "lokr tucker": ("lokr.LokrModule", "conv", 0.5, {"factor": 4, "lora_dim": 1, "use_tucker": True}),
    "glora": ("glora.GLoRAModule", "linear", 0.4, {}),
    "glora square": ("glora.GLoRAModule", "square", 0.4, {}),
    "glora conv": ("glora.GLoRAModule", "conv", 0.4, {}),
    "oft": ("diag_oft.DiagOFTModule", "linear", 0.1, {}),
    "oft conv": ("diag_oft.DiagOFTModule", "conv", 0.1, {}),
    "oft constrained": ("diag_oft.DiagOFTModule", "linear", 0.5, {"constraint": 0.05}),
    "oft rescaled": ("diag_oft.DiagOFTModule", "linear", 0.1, {"rescaled": True}),
    "boft": ("boft.ButterflyOFTModule", "linear", 0.1, {}),
    "boft conv": ("boft.ButterflyOFTModule", "conv", 0.1, {}),
    "boft constrained": ("boft.ButterflyOFTModule", "linear", 0.5, {"constraint": 0.05}),
    "boft rescaled": ("boft.ButterflyOFTModule", "linear", 0.1, {"rescaled": True}),
    "ia3": ("ia3.IA3Module", "linear", 0.3, {}),
    "ia3 input": ("ia3.IA3Module", "linear", 0.3, {"train_on_input": True}),
    "ia3 conv": ("ia3.IA3Module", "conv", 0.3, {}),
    "dora": ("locon.LoConModule", "linear", 0.3, {"weight_decompose": True, "wd_on_out": True}),
    "dora square": ("locon.LoConModule", "square", 0.3, {"weight_decompose": True, "wd_on_out": True}),
    "dora conv": ("locon.LoConModule", "conv", 0.3, {"weight_decompose": True, "wd_on_out": True}),
    "dora input": ("locon.LoConModule", "linear", 0.3, {"weight_decompose": True, "wd_on_out": False}),
    "dora input conv": ("locon.LoConModule", "conv", 0.3, {"weight_decompose": True, "wd_on_out": False}),
    "dora loha": ("loha.LohaModule", "linear", 0.3, {"weight_decompose": True, "wd_on_out": True}),
    "dora lokr": (
        "lokr.LokrModule",
        "linear",
        0.3,
        {"weight_decompose": True, "wd_on_out": True, "factor": 4, "lora_dim": 1},
    ),
}
"""Class, layer, spread of the parameters, options."""

NOT_IN_PART = ("dora", "rescaled")
"""Cases whose strengths between 0 and 1 we read otherwise, see the adapters."""


def lycoris_cases() -> Iterator[Case]:
    """LyCORIS' modules at strength 1, and at 0.6 where the strength means the same."""
    for name, (where, kind, spread, options) in LYCORIS.items():
        strengths = (1.0,) if any(word in name for word in NOT_IN_PART) else (1.0, 0.6)
        for strength in strengths:
            yield _lycoris_case(f"{name} @{strength}", where, kind, spread, options, strength)


def _lycoris_case(name: str, where: str, kind: str, spread: float, options: dict[str, Any], strength: float) -> Case:
    file, cls = where.split(".")
    make = getattr(import_module(f"lycoris.modules.{file}"), cls)
    layer = layer_of(kind)
    base = {part: tensor.detach().clone() for part, tensor in layer.named_parameters()}
    module = make(NAME, layer, strength, **{"lora_dim": 4, "alpha": 2, **options})
    randomize(module.named_parameters(), spread, seed=len(name))
    tensors = {f"{NAME}.{part}": tensor.detach().clone() for part, tensor in module.state_dict().items()}
    module.apply_to()
    with torch.no_grad():
        return Case(name, kind, tensors, base, acting_weight(layer, layer), strength)


def _peft_configs() -> dict[str, tuple[str, float, Any]]:
    peft: Any = import_module("peft")
    on = {"target_modules": ["m"]}
    return {
        "peft lora": ("linear", 0.4, peft.LoraConfig(r=4, lora_alpha=6, **on)),
        "peft lora conv": ("conv", 0.4, peft.LoraConfig(r=4, lora_alpha=6, **on)),
        "peft rslora": ("linear", 0.4, peft.LoraConfig(r=4, lora_alpha=6, use_rslora=True, **on)),
        "peft dora": ("linear", 0.3, peft.LoraConfig(r=4, lora_alpha=6, use_dora=True, **on)),
        "peft dora square": ("square", 0.3, peft.LoraConfig(r=4, lora_alpha=6, use_dora=True, **on)),
        "peft dora conv": ("conv", 0.3, peft.LoraConfig(r=4, lora_alpha=6, use_dora=True, **on)),
        "peft loha": ("linear", 0.6, peft.LoHaConfig(r=4, alpha=6, **on)),
        "peft loha conv": ("conv", 0.6, peft.LoHaConfig(r=4, alpha=6, use_effective_conv2d=True, **on)),
        "peft lokr": ("linear", 0.5, peft.LoKrConfig(r=2, alpha=6, decompose_factor=4, **on)),
        "peft lokr full": ("linear", 0.5, peft.LoKrConfig(r=64, alpha=6, decompose_factor=4, **on)),
        "peft oft": ("linear", 0.1, peft.OFTConfig(oft_block_size=4, r=0, **on)),
        "peft oft conv": ("conv", 0.05, peft.OFTConfig(oft_block_size=6, r=0, **on)),
        "peft oft shared": ("linear", 0.1, peft.OFTConfig(oft_block_size=4, r=0, block_share=True, **on)),
        "peft oft exact": ("linear", 0.1, peft.OFTConfig(oft_block_size=4, r=0, use_cayley_neumann=False, **on)),
        "peft oft terms": ("linear", 0.1, peft.OFTConfig(oft_block_size=4, r=0, num_cayley_neumann_terms=3, **on)),
        "peft boft": ("square", 0.3, peft.BOFTConfig(boft_block_size=4, boft_n_butterfly_factor=2, **on)),
        "peft boft flat": ("linear", 0.3, peft.BOFTConfig(boft_block_size=3, **on)),
        "peft ia3": ("linear", 0.3, peft.IA3Config(feedforward_modules=[], **on)),
        "peft ia3 input": ("linear", 0.3, peft.IA3Config(feedforward_modules=["m"], **on)),
        "peft ia3 conv": ("conv", 0.3, peft.IA3Config(feedforward_modules=[], **on)),
    }


KEPT = ("r", "alpha", "lora_alpha", "use_rslora", "use_cayley_neumann", "num_cayley_neumann_terms")
"""Entries of a configuration that say how a file is read."""


def peft_cases() -> Iterator[Case]:
    """PEFT's adapters, with their configuration as the metadata that diffusers writes."""
    peft: Any = import_module("peft")
    for name, (kind, spread, config) in _peft_configs().items():
        layer = layer_of(kind)
        model = nn.Sequential(OrderedDict(m=layer))
        base = {part: tensor.detach().clone() for part, tensor in layer.named_parameters()}
        wrapped: Any = peft.get_peft_model(model, config)
        adapter = [(part, p) for part, p in wrapped.named_parameters() if "base_layer" not in part]
        randomize(iter(adapter), spread, seed=len(name))
        state = peft.get_peft_model_state_dict(wrapped)
        tensors = {key.replace("base_model.model.", "unet."): t.detach().clone() for key, t in state.items()}
        entries = {f"unet.{key}": value for key, value in config.to_dict().items() if key in KEPT}
        wrapped.eval()
        with torch.no_grad():
            acting = acting_weight(wrapped.base_model.model, wrapped.merge_and_unload().m)
            yield Case(name, kind, tensors, base, acting, 1.0, {"lora_adapter_metadata": json.dumps(entries)})


def record() -> None:
    """Write what the oracles say now."""
    tensors: dict[str, Tensor] = {}
    about: dict[str, Any] = {}
    for case in (*lycoris_cases(), *peft_cases()):
        about[case.name] = {"layer": case.layer, "strength": case.strength, "metadata": dict(case.metadata)}
        owned = {case.name: (case.tensors, case.expected), case.layer: (case.base, {})}
        for owner, (mine, expected) in owned.items():
            tensors |= {f"{owner}|tensors|{key}": tensor.contiguous() for key, tensor in mine.items()}
            tensors |= {f"{owner}|expected|{key}": tensor.contiguous() for key, tensor in expected.items()}
    RECORDED.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, RECORDED, {"cases": json.dumps(about, sort_keys=True)})


def recorded_cases() -> Iterator[Case]:
    """What was recorded."""
    with safe_open(RECORDED, "pt") as file:
        about = json.loads(file.metadata()["cases"])
        parts: dict[str, dict[str, dict[str, Tensor]]] = {}
        for key in file.keys():  # noqa: SIM118
            owner, what, name = key.split("|")
            parts.setdefault(owner, {}).setdefault(what, {})[name] = file.get_tensor(key)
    for name, entry in about.items():
        found, base = parts[name], parts[entry["layer"]]["tensors"]
        settings = entry["strength"], entry["metadata"]
        yield Case(name, entry["layer"], found["tensors"], base, found["expected"], *settings)


if __name__ == "__main__":
    record()
