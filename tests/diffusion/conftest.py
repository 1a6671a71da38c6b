# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusion.tiny import write_checkpoint, write_lora

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import Clip, Model, Vae

Recipes = tuple[Model, Clip, Vae]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny.safetensors` and the LoRAs `a`, `b` and `c`, which overlap in part."""
    folder = tmp_path_factory.mktemp("weights")
    write_checkpoint(folder / "tiny.safetensors")
    write_lora(folder / "a.safetensors", 1)
    write_lora(folder / "b.safetensors", 2, rank=2, only="attn")
    write_lora(folder / "c.safetensors", 3, rank=8, only="resnets")
    return folder


@pytest.fixture(scope="session")
def recipes(weights: Path) -> Recipes:
    """Model, text encoder and autoencoder of the tiny checkpoint."""
    return open_checkpoint(weights / "tiny.safetensors")


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """One runtime for all tests: it is the point of it that uses do not disturb each other."""
    return Runtime("cpu")
