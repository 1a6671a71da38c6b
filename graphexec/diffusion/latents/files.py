"""Latents as files: safetensors with ComfyUI's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from graphexec.diffusion.types import Latent
from graphexec.errors import ModelFileError

__all__ = ["encode_latent", "load_latent"]

SAMPLES = "latent_tensor"
VERSION = "latent_format_version_0"
"""An empty tensor of this name says that the samples are as the VAE gives them; in older files they are scaled."""
OLD_SCALE = 0.18215


def encode_latent(latent: Latent, texts: Mapping[str, str]) -> bytes:
    """The samples as a safetensors file with texts in its header; noise mask and batch index are no part of it."""
    return save({SAMPLES: latent.samples.contiguous(), VERSION: torch.tensor([])}, dict(texts))


def load_latent(path: Path) -> Latent:
    """The samples of a file, in float32; `ModelFileError` if it holds none."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} cannot be read as a latent: {error}") from error
    if SAMPLES not in tensors:
        raise ModelFileError(f"{path} holds no latent: there is no tensor called {SAMPLES}")
    samples = tensors[SAMPLES].float()
    if samples.ndim != 4:
        shape = tuple(samples.shape)
        raise ModelFileError(f"{path}: a latent is [batch, channels, height, width], the one in this file is {shape}")
    return Latent(samples if VERSION in tensors else samples * (1.0 / OLD_SCALE))
