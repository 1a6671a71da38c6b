"""Every stage computes on the device that it is told; `meta` tells, for it takes no tensors of the CPU's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from train_tiny.drawn import rectangles

import decoder
import pairs
import text
import vae
from checkpoint import networks_of
from critic import Critic
from graphexec.diffusion.models.vae import Autoencoder
from parallel import whole
from tokens import Tokens, Told

DEVICE = "meta"
UNUSED = cast("torch.Generator", None)
"""There is no generator of the device's own."""
PAIRS = pairs.Pairs(torch.zeros(3, 4, 16, 16).half(), torch.zeros(3, 128, 128, 3, dtype=torch.uint8))


@pytest.fixture(autouse=True)
def back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors come back from the device, as zeros."""

    def cpu(own: Tensor) -> Tensor:
        return torch.zeros_like(own, device="cpu")

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    return networks_of({}, DEVICE)


def the_vae(networks: dict[str, nn.Module]) -> Autoencoder:
    return cast("Autoencoder", networks["vae"])


def autoencoder_loss(networks: dict[str, nn.Module]) -> Tensor:
    batch = next(vae.Batches(rectangles().drawings, 10).epoch(0))
    return vae.Learning(the_vae(networks), DEVICE, whole)(batch, UNUSED)


def text_loss(networks: dict[str, nn.Module]) -> Tensor:
    scenes = rectangles()
    known = text.looks(scenes, lambda pixels: the_vae(networks).encode(pixels.to(DEVICE)).cpu())
    reading = text.Reading(networks["text"], known.to(DEVICE)).to(DEVICE)
    return text.Learning(reading, DEVICE, whole)(next(text.CaptionBatches(scenes, Tokens(), 2, 5).epoch(0)), UNUSED)


def decoder_loss(networks: dict[str, nn.Module]) -> Tensor:
    batch = next(decoder.Batches(rectangles(), the_vae(networks), PAIRS, 2, DEVICE).epoch(0))
    return decoder.Learning(the_vae(networks), Critic().to(DEVICE), DEVICE, whole)(batch, UNUSED)


@pytest.mark.parametrize("loss", [autoencoder_loss, text_loss, decoder_loss])
def test_a_stage_computes_on_its_device(
    networks: dict[str, nn.Module], loss: Callable[[dict[str, nn.Module]], Tensor]
) -> None:
    found = loss(networks)
    assert found.device.type == DEVICE
    found.mean().backward()


def test_pairs_are_sampled_on_the_device_and_kept_on_the_cpu(
    networks: dict[str, nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FILE", "CHUNK", "STEPS"):
        monkeypatch.setattr(pairs, name, 2)
    told = Told(networks["text"], Tokens())
    made = pairs.make_pairs(rectangles(), networks, told, tmp_path, 2, DEVICE, threads=1)
    assert made.latents.device.type == "cpu"
