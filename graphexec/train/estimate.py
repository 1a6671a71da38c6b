"""What a step of training costs, counted on networks without weights: nothing is loaded and nothing is computed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from graphexec.diffusion.checkpoint import CheckpointLayout
from graphexec.diffusion.devices import pick_device
from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.taps import AttentionKind, Place, Tap
from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.precisions import DTYPES
from graphexec.diffusion.types import Precision
from graphexec.train.config import TrainConfig
from graphexec.train.data.buckets import Size
from graphexec.train.network import TrainedNetwork

__all__ = ["Cost", "Speed", "count_cost", "measure_speed"]

STATE_NUMBERS = 2
"""Numbers that an optimiser keeps for each parameter: Adam's two moments."""
REACHED = 0.5
"""The part of the speed of a large multiplication that networks reach; from 0.4 to 0.7 in practice."""
MEASURED = {"cpu": 1024, "cuda": 8192}
"""Rows of the matrices whose multiplication is timed."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Adapters, their parameters, the bytes of their file; bytes of memory and operations of a step's batch."""

    adapters: int
    parameters: int
    file_bytes: int
    weight_bytes: int
    training_bytes: int
    activation_bytes: int
    operations: int
    warnings: tuple[str, ...] = ()
    """What there is to tell of the adapters."""

    @property
    def memory_bytes(self) -> int:
        """What a step needs at most, besides what libraries take for themselves."""
        return self.weight_bytes + self.training_bytes + self.activation_bytes


@dataclass(frozen=True, slots=True)
class Speed:
    """Operations a second on a device."""

    device: str
    operations: float


def count_cost(config: TrainConfig, layout: CheckpointLayout, size: Size, batch: int) -> Cost:
    """The cost of a step on a batch of pictures of a size (width, height).

    Raises `TrainingError` if the adapters or learning rates that are asked for do not fit the model.
    """
    dtype = DTYPES[config.loop.precision]
    warnings = list[str]()
    with torch.device("meta"):
        unet = UNet(layout.unet).to(dtype).requires_grad_(False)
        encoders = tuple(ClipText(each.layout).to(dtype).requires_grad_(False) for each in layout.encoders)
        network = TrainedNetwork.attach(config.network, unet, encoders, layout.family, 0, warnings.append)
    network.groups(config.optimiser)
    parameters = sum(group.numel() for group in network.parameters())
    kept, operations = _pass(unet, network, layout, size, batch)
    if config.loop.gradient_checkpointing:
        kept, operations = kept // len(layout.unet.input_blocks), operations * 4 // 3
    text = sum(each.numel() for encoder in encoders for each in encoder.parameters())
    tokens = batch * (config.model.max_token_length + 2)
    return Cost(
        adapters=len(network.adapters),
        parameters=parameters,
        file_bytes=parameters * DTYPES[config.saving.precision].itemsize,
        weight_bytes=(layout.parameters - text * config.loop.cache_text) * dtype.itemsize,
        training_bytes=parameters * 4 * (2 + STATE_NUMBERS),
        activation_bytes=kept,
        operations=operations + 2 * text * tokens * (3 if config.network.train_text else not config.loop.cache_text),
        warnings=tuple(warnings),
    )


def measure_speed(device: str, precision: Precision, seconds: float = 0.2) -> Speed:
    """The speed that training on a device ("auto": CUDA where there is one) reaches.

    It is told from that of a multiplication of large matrices. Raises `MissingDevice` for a device that is not here.
    """
    on = pick_device(device)
    rows = MEASURED.get(on.type, 1024)
    matrix = torch.ones(rows, rows, device=on, dtype=DTYPES[precision])
    float((matrix @ matrix)[0, 0])
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        float((matrix @ matrix)[0, 0])  # waits for the device
        count += 1
    return Speed(str(on), REACHED * 2 * rows**3 * count / (time.perf_counter() - begun))


def _pass(unet: UNet, network: TrainedNetwork, layout: CheckpointLayout, size: Size, batch: int) -> tuple[int, int]:
    """Bytes that are kept for the way back, and operations of both ways."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor  # pyright: ignore[reportPrivateUsage] - its identity
        return tensor

    dtype = next(unet.parameters()).dtype
    width, height = size[0] // layout.downscale, size[1] // layout.downscale
    fused = FusedAttention()
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        x = torch.empty(batch, layout.unet.in_channels, height, width, dtype=dtype)
        context = torch.empty(batch, 77, layout.unet.context_width or 1, dtype=dtype)
        vector = None if layout.unet.vector_width is None else torch.empty(batch, layout.unet.vector_width, dtype=dtype)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = unet(x, torch.empty(batch), context, vector, taps=[fused])
        if out.requires_grad:
            out.sum().backward()
    return _bytes(kept, unet, network), counter.get_total_flops() + fused.operations


def _bytes(kept: Mapping[int, Tensor], *networks: nn.Module) -> int:
    own = {each.untyped_storage()._cdata for network in networks for each in network.parameters()}  # pyright: ignore[reportPrivateUsage]
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


class FusedAttention(Tap):
    """Attention as devices compute it, without keeping its matrix; on tensors without values torch would keep it."""

    def __init__(self) -> None:
        self.operations = 0

    def attend(self, kind: AttentionKind, q: Tensor, k: Tensor, v: Tensor, heads: int, at: Place) -> Tensor | None:
        """Count two multiplications forth and five back."""
        self.operations += 7 * 2 * q.shape[0] * q.shape[1] * k.shape[1] * q.shape[2]
        return _Attended.apply(q, k, v)


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Shapes only."""
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Shapes only."""
        return tuple(torch.empty_like(each) for each in ctx.saved_tensors[:3])
