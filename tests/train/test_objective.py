# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import itertools
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion.tiny import write_checkpoint
from torch.utils._python_dispatch import TorchDispatchMode

from graphexec.train.checkpointing import checkpoint_blocks
from graphexec.train.config import ModelSource, Network, Noise, Objective, Optimiser
from graphexec.train.data.batch import Batch
from graphexec.train.loop import Loop, Plan
from graphexec.train.models import BaseModel
from graphexec.train.network import TrainedNetwork
from graphexec.train.noise import Levels, draw_noised
from graphexec.train.objective import DiffusionLoss
from graphexec.train.texts import Captions, vector_of


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("objective") / "m.safetensors", family=request.param)


def loss_of(path: Path, objective: Objective, **options: Any) -> DiffusionLoss:
    base = BaseModel.load(ModelSource(path, **options), "fp32", torch.device("cpu"))
    return DiffusionLoss(base, Captions(base, print), Noise(), objective, Levels.of())


def batch_of(generator: torch.Generator) -> Batch:
    return Batch(
        torch.randn(2, 4, 8, 6, generator=generator),
        ("a red square", "a blue one"),
        torch.tensor([1.0, 0.5]),
        (torch.rand(2, 1, 8, 6, generator=generator) > 0.5).float(),
        torch.tensor([[64, 48, 0, 0, 64, 48]] * 2),
        ("a.png", "b.png"),
    )


@pytest.mark.parametrize("v_prediction", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_a_loss_by_hand(path: Path, v_prediction: bool, masked: bool) -> None:
    """Everything around the UNet again in fp64."""
    loss = loss_of(path, Objective(masked=masked, min_snr_gamma=5.0), v_prediction=v_prediction)
    batch = batch_of(torch.Generator().manual_seed(1))
    found = loss(batch, torch.Generator().manual_seed(2)).numpy()
    noised = draw_noised(batch.latents, Noise(), Levels.of(), torch.Generator().manual_seed(2))
    kept = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)[noised.timesteps.numpy()]
    kept = kept[:, None, None, None]
    latents, noise = batch.latents.double().numpy(), noised.noise.double().numpy()
    told = loss.embed(batch.captions)
    vector = vector_of(told.pooled, batch.sizes) if loss.base.family == "sdxl" else None
    noisy = torch.tensor(kept**0.5 * latents + (1 - kept) ** 0.5 * noise).float()
    prediction = loss.base.unet(noisy, noised.timesteps, told.context, vector).double().numpy()
    target = kept**0.5 * noise - (1 - kept) ** 0.5 * latents if v_prediction else noise
    assert batch.masks is not None
    errors = (prediction - target) ** 2 * (batch.masks.double().numpy() if masked else 1)
    snr = (kept / (1 - kept)).flatten()
    weights = np.minimum(snr, 5) / (snr + 1 if v_prediction else snr) * [1.0, 0.5]
    np.testing.assert_allclose(found, errors.mean((1, 2, 3)) * weights, rtol=2e-5)


def test_checkpointing_changes_no_gradient(path: Path) -> None:
    gradients: list[list[torch.Tensor | None]] = []
    for checkpointed in (False, True):
        loss = loss_of(path, Objective())
        base = loss.base
        network = TrainedNetwork.attach(Network(dropout=0.2), base.unet, base.encoders, base.family, 1).train()
        parameters = list(network.parameters())
        for parameter in parameters:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(parameter.numel()))
        if checkpointed:
            checkpoint_blocks([base.unet, *base.encoders])
        loss(batch_of(torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2)).mean().backward()
        gradients.append([parameter.grad for parameter in parameters])
    plain, recomputed = gradients
    assert sum(gradient is not None for gradient in plain) > 20
    for one, other in zip(plain, recomputed, strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or torch.equal(one, other)


def test_each_batch_has_a_number_of_its_own(path: Path) -> None:
    numbers: list[int] = []
    loss = loss_of(path, Objective())
    counted = DiffusionLoss(loss.base, loss.embed, loss.noise, loss.objective, loss.levels, numbers.append)
    with torch.no_grad():
        for seed in (5, 6):
            counted(batch_of(torch.Generator().manual_seed(1)), torch.Generator().manual_seed(seed))
    assert numbers == [5, 6]


class Questions(TorchDispatchMode):
    """Notes whenever the host asks for a number, and would wait for a GPU to have computed it."""

    ASKING = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.heeded = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_bools = func.overloadpacket is torch.ops.aten.index and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if self.heeded and (by_bools or func.overloadpacket.__name__ in self.ASKING):
            self.asked.append("".join(traceback.format_stack(limit=6)))
        return func(*args, **(kwargs or {}))


class Same:
    """One batch for ever."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        return itertools.repeat(self.batch)


RANDOM = Noise(offset=0.1, offset_random=True, adaptive_scale=0.1, multires_iterations=3, input_perturbation=0.1)


@pytest.mark.parametrize(
    "network",
    [
        Network("lora", dropout=0.1, rank_dropout=0.1, module_dropout=0.1),
        Network("lora", decompose=True),
        Network("loha", rank_dropout=0.1),
        Network("lokr"),
    ],
    ids=["lora", "dora", "loha", "lokr"],
)
def test_no_step_waits_for_the_device(path: Path, network: Network) -> None:
    """But for the optimiser, whose steps torch counts on the host."""
    loss = replace(loss_of(path, Objective(loss="huber", masked=True, min_snr_gamma=5.0)), noise=RANDOM)
    trained = TrainedNetwork.attach(network, loss.base.unet, loss.base.encoders, loss.base.family, 1).train()
    batch = batch_of(torch.Generator().manual_seed(1))
    plan = Plan(steps=3, seed=1, accumulation=2, ema_decay=0.9, optimiser=Optimiser(max_grad_norm=1.0))
    groups = trained.groups(plan.optimiser)
    loop = Loop(groups, loss, Same(batch), plan, constrain=lambda: trained.scale_norms(0.01))
    questions = Questions()

    def ignore(*called: object) -> None:
        questions.heeded = False

    def heed(*called: object) -> None:
        questions.heeded = True

    loop.stepper.optimiser.register_step_pre_hook(ignore)
    loop.stepper.optimiser.register_step_post_hook(heed)
    with questions:
        assert [(moment.step, len(questions.asked)) for moment in loop.run()] == [(1, 0), (2, 0), (3, 0)]
    assert len(questions.asked) == 1  # at the end, whether what was trained is finite
