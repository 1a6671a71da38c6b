"""The small model as one file in SD1.x's layout, and its networks read back from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.models.vae import Autoencoder
from layouts import CLIP, UNET, VAE
from tokens import BEGIN, END

__all__ = [
    "CHECKPOINT",
    "concepts_of",
    "networks",
    "networks_of",
    "packed_well",
    "read_checkpoint",
    "save_checkpoint",
    "weights_of",
]

CHECKPOINT = Path("build/tiny/models/checkpoints/graphexec-tiny.safetensors")
PREFIXES = {
    "unet": "model.diffusion_model.",
    "text": "cond_stage_model.transformer.text_model.",
    "vae": "first_stage_model.",
}
TOKENS = "embeddings.token_embedding.weight"


def networks(seed: int) -> dict[str, nn.Module]:
    """The networks with their first weights: residual branches begin at nothing, so that signals keep their size."""
    torch.manual_seed(seed)
    made: dict[str, nn.Module] = {"unet": UNet(UNET), "text": ClipText(CLIP), "vae": Autoencoder(VAE)}
    zero = (
        "out_layers.3.weight",
        "out_layers.3.bias",
        "proj_out.weight",
        "proj_out.bias",
        "conv2.weight",
        "conv2.bias",
    )
    for network in made.values():
        for name, parameter in network.named_parameters():
            if name.endswith(zero):
                nn.init.zeros_(parameter)
    nn.init.zeros_(made["unet"].get_parameter("out.2.weight"))
    _begin_text(made["text"])
    return made


def _begin_text(text: nn.Module) -> None:
    """Words outweigh their places and the marks, so that the 70 tokens of filling after a caption carry its words."""
    tokens, places = (text.get_parameter(f"embeddings.{name}_embedding.weight") for name in ("token", "position"))
    nn.init.normal_(tokens, std=0.3)
    nn.init.normal_(places, std=0.003)
    with torch.no_grad():
        tokens[[BEGIN, END]] = 0
    tokens.requires_grad_()
    places.requires_grad_()


def networks_of(weights: Mapping[str, Mapping[str, Tensor]], device: str = "cpu") -> dict[str, nn.Module]:
    """The networks with these weights (first ones for a part without any), channels last, as convolutions are fast."""
    made = {name: network.to(device, memory_format=torch.channels_last) for name, network in networks(0).items()}
    for part, known in weights.items():
        made[part].load_state_dict(known)
    return made


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """What the weights are now, on the CPU, whatever becomes of the network's."""
    return {name: tensor.detach().clone().cpu() for name, tensor in network.state_dict().items()}


def save_checkpoint(file: Path, weights: dict[str, dict[str, Tensor]], used: Tensor, concepts: Sequence[str]) -> None:
    """Write the weights in fp16."""
    weights = {**weights, "text": packed_well(weights["text"], used)}
    tensors = {PREFIXES[part] + name: tensor for part, named in weights.items() for name, tensor in named.items()}
    halves = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    broken = [name for name, tensor in halves.items() if not tensor.isfinite().all()]
    if broken:
        raise SystemExit(f"not finite in half precision: {', '.join(broken)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    about = {"format": "pt", "title": "graphexec-tiny", "concepts": json.dumps(concepts)}
    save_file(halves, file.with_suffix(".tmp"), about)
    file.with_suffix(".tmp").replace(file)


def packed_well(text: Mapping[str, Tensor], used: Tensor) -> dict[str, Tensor]:
    """A text encoder's weights; tokens that no caption used, bool [49408], are zero, so that the file packs well."""
    return {**text, TOKENS: torch.where(used[:, None], text[TOKENS], 0)}


def read_checkpoint(file: Path) -> dict[str, dict[str, Tensor]]:
    """The networks' weights, float32, by part."""
    tensors = load_file(file)
    return {
        part: {name.removeprefix(prefix): t.float() for name, t in tensors.items() if name.startswith(prefix)}
        for part, prefix in PREFIXES.items()
    }


def concepts_of(file: Path) -> list[str]:
    """The names of what a checkpoint has learned to draw."""
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["concepts"])
