"""Checkpoints and LoRAs of random numbers to measure with."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from platformdirs import user_cache_path
from safetensors.torch import save_file
from torch import Tensor

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from diffusion.tiny import SD15, UNET, UNetSize, unet_shapes, write_checkpoint, write_lora
from diffusion.tiny import diffusers_unet as names_in_diffusers
from parity.making import make

from graphexec.diffusion.types import Cond, Conditioning, Latent
from graphexec.lora.header import read_header

__all__ = [
    "SD15",
    "UNetSize",
    "arguments",
    "conditioning",
    "empty",
    "full_size",
    "lora_of",
    "names_in_diffusers",
    "ten_loras",
    "unet_shapes",
    "write_checkpoint",
]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every command takes: the folder in which the checkpoints are, or are made."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    default = user_cache_path("graphexec") / "parity"
    parser.add_argument("folder", type=Path, nargs="?", default=default, help=f"models folder, by default {default}")
    return parser


def full_size(folder: Path, name: str) -> Path:
    """A checkpoint of full size, made unless it is there."""
    return make(folder, name)


def ten_loras(folder: Path) -> list[Path]:
    """Ten LoRAs of rank 16 for all layers of SD 1.5's UNet but its convolutions."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"bench_{seed}.safetensors" for seed in range(10)]
    for seed, path in enumerate(paths):
        if not path.exists():
            write_lora(path, seed, 16, only="transformer_blocks", size=SD15)
    return paths


def lora_of(checkpoint: Path, rank: int) -> Path:
    """A LoRA for all linear layers in the transformers of a checkpoint's UNet, spelled as the checkpoint does."""
    path = checkpoint.with_name(f"{checkpoint.stem}_lora_{rank}.safetensors")
    found: dict[str, Tensor] = {}
    for name, shape in read_header(checkpoint).shapes.items():
        if name.startswith(UNET) and ".transformer_blocks." in name and name.endswith(".weight") and len(shape) == 2:
            module = "lora_unet_" + name.removeprefix(UNET).removesuffix(".weight").replace(".", "_")
            found[f"{module}.lora_up.weight"] = torch.randn(shape[0], rank, dtype=torch.float16) / 10
            found[f"{module}.lora_down.weight"] = torch.randn(rank, shape[1], dtype=torch.float16) / shape[1] ** 0.5
    save_file(found, path)
    return path


def conditioning(width: int, seed: int) -> Conditioning:
    """A prompt's embedding of random numbers."""
    generator = torch.Generator().manual_seed(seed)
    return Conditioning((Cond(torch.randn(1, 77, width, generator=generator)),))


def empty(pixels: int) -> Latent:
    """An empty square latent."""
    return Latent(torch.zeros(1, 4, pixels // 8, pixels // 8))
