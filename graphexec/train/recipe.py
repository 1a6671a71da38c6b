"""A LoRA trained on a model's recipe with latents and prompts that a graph has made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.precisions import DTYPES
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sources import LoraModel
from graphexec.diffusion.types import Conditioning, Latent, LossMap, Model, Precision
from graphexec.train.config import Network, NetworkKind, Noise, Objective, Optimiser
from graphexec.train.events import Started, Stepped
from graphexec.train.examples import Example, ExampleBatch, Examples, Warn, pair_examples
from graphexec.train.existing import Existing, read_existing
from graphexec.train.faults import TrainingError
from graphexec.train.lent import checkpointed
from graphexec.train.loop import Loop, Plan
from graphexec.train.loss import picture_losses
from graphexec.train.network import TrainedNetwork
from graphexec.train.noise import Levels, Target, draw_noised, target_of
from graphexec.train.output import lora_bytes

__all__ = ["Settings", "Trained", "train_on_recipe"]

Algorithm = Literal["LoRA", "LoHa", "LoKr", "OFT"]
Loss = Literal["MSE", "L1", "Huber", "SmoothL1"]
KINDS: Mapping[str, NetworkKind] = {"LoRA": "lora", "LoHa": "loha", "LoKr": "lokr"}
OBJECTIVES: Mapping[Loss, Objective] = {
    "MSE": Objective(loss="l2"),
    "L1": Objective(loss="l1"),
    "Huber": Objective(loss="huber", huber_c=1.0, huber_schedule="constant"),
    "SmoothL1": Objective(loss="smooth_l1", huber_c=1.0, huber_schedule="constant"),
}
ALPHA = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What ComfyUI's node for training asks."""

    batch_size: int = 1
    accumulation: int = 1
    steps: int = 16
    learning_rate: float = 0.0005
    rank: int = 8
    optimiser: str = "AdamW"
    loss: Loss = "MSE"
    seed: int = 0
    training_precision: Precision = "bf16"
    lora_precision: Precision = "bf16"
    algorithm: Algorithm = "LoRA"
    checkpointing: bool = True
    existing: Path | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """A LoRA, the loss of each step, and the steps that it was trained for in all."""

    lora: LoraModel
    losses: LossMap
    steps: int


def train_on_recipe(
    runtime: Runtime,
    model: Model,
    latents: Sequence[Latent],
    positive: Sequence[Conditioning],
    settings: Settings,
    *,
    on_step: Callable[[int, int], object] = lambda done, total: None,
    warn: Warn = lambda message: None,
) -> Trained:
    """Train a LoRA of the UNet; the same inputs give the same file.

    `on_step(done, total)` may raise to stop. Raises `TrainingError` for what cannot be trained.
    """
    examples = pair_examples(model, latents, positive, warn)
    existing = None if settings.existing is None else read_existing(settings.existing)
    losses: list[float] = []

    def watch(event: Started | Stepped) -> None:
        if isinstance(event, Stepped):
            losses.append(event.loss)
            on_step(event.step, event.total)

    with runtime.unet(replace(model, dtype=settings.training_precision), warn=warn) as unet:
        network = _attach(unet, model, settings, existing, warn)
        try:
            with checkpointed(unet, settings.checkpointing):
                _run(network, unet, model, examples, settings, watch, runtime.device)
            tensors = network.tensors(DTYPES[settings.lora_precision])
        finally:
            network.detach()
    steps = settings.steps + (existing.steps if existing else 0)
    size = (settings.rank, ALPHA) if existing is None else network.size
    lora = _lora(tensors, settings, existing, size, steps, warn)
    return Trained(lora, LossMap(tuple(losses)), steps)


def _attach(unet: UNet, model: Model, settings: Settings, existing: Existing | None, warn: Warn) -> TrainedNetwork:
    config = Network(_kind(settings.algorithm), settings.rank, ALPHA, train_text=False)
    if existing is not None:
        config = existing.network(config)
    return TrainedNetwork.attach(config, unet, (), model.family, settings.seed, warn)


def _kind(algorithm: Algorithm) -> NetworkKind:
    if algorithm not in KINDS:
        raise TrainingError(f"{algorithm} cannot be trained here, only {', '.join(KINDS)}")
    return KINDS[algorithm]


def _run(
    network: TrainedNetwork,
    unet: UNet,
    model: Model,
    examples: Sequence[Example],
    settings: Settings,
    watch: Callable[[Started | Stepped], object],
    device: torch.device,
) -> None:
    optimiser = Optimiser(settings.optimiser, settings.learning_rate)
    loop = Loop(
        network.groups(optimiser),
        _objective(unet, model, OBJECTIVES[settings.loss], device),
        Examples(examples, settings.batch_size, settings.seed, device),
        Plan(settings.steps, settings.seed, settings.accumulation, settings.training_precision, optimiser=optimiser),
        watch=watch,
        device=device,
    )
    for _ in loop.run():
        pass


def _objective(
    unet: UNet, model: Model, objective: Objective, device: torch.device
) -> Callable[[ExampleBatch, torch.Generator], Tensor]:
    """The loss of each picture [B], as sd-scripts measures it.

    ComfyUI measures how far the noiseless picture is off, which weighs a step by the square of its noise: hardly
    anything but the noisiest counts.
    """
    kind, dtype = _target(model, unet), next(unet.parameters()).dtype
    levels = Levels.of(zero_terminal_snr=model.sampling.zero_snr, device=device)

    def losses(batch: ExampleBatch, generator: torch.Generator) -> Tensor:
        noised = draw_noised(batch.latents, Noise(), levels, generator)
        vector = None if batch.vector is None else batch.vector.to(dtype)
        found = unet(noised.noisy.to(dtype), noised.timesteps, batch.context.to(dtype), vector)
        target = target_of(kind, batch.latents, noised, levels)
        return picture_losses(found, target, noised.timesteps, objective, levels, kind=kind)

    return losses


def _target(model: Model, unet: UNet) -> Target:
    sampling = model.sampling
    if sampling.prediction not in ("eps", "v") or sampling.levels != "discrete":
        raise TrainingError(f"a model that predicts {sampling.prediction} ({sampling.levels} levels) cannot be trained")
    if unet.layout.in_channels != unet.layout.out_channels:
        raise TrainingError("a model for inpainting or editing cannot be trained here: train its plain sibling")
    return "v" if sampling.prediction == "v" else "eps"


def _lora(
    tensors: Mapping[str, Tensor],
    settings: Settings,
    existing: Existing | None,
    size: tuple[object, object],
    steps: int,
    warn: Warn,
) -> LoraModel:
    rest = existing.rest if existing else {}
    if rest:
        warn(f"{len(rest)} tensors of the existing LoRA are not for the UNet; they are kept as they are")
    kind = _kind(settings.algorithm) if existing is None else existing.kind
    metadata = {
        "ss_network_module": "networks.lora" if kind == "lora" else "lycoris.kohya",
        "ss_network_dim": str(size[0]),
        "ss_network_alpha": str(size[1]),
        "ss_steps": str(steps),
        "ss_seed": str(settings.seed),
        "ss_learning_rate": str(settings.learning_rate),
        "ss_optimizer": settings.optimiser,
    }
    return LoraModel(lora_bytes({**tensors, **rest}, metadata))
