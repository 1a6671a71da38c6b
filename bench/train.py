"""What the training loop adds to forward, backward and step, on a small UNet: `python bench/train.py`."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from checkpoints import UNetSize, unet_shapes
from report import Row, at_most, best, show
from torch import Tensor
from torch.nn import functional as F

from graphexec.diffusion.models.layout import unet_layout
from graphexec.diffusion.models.unet import UNet
from graphexec.train.config import Noise, Objective, Optimiser
from graphexec.train.groups import ParameterGroup
from graphexec.train.logs import JsonLines
from graphexec.train.loop import Loop, Plan
from graphexec.train.loss import picture_losses
from graphexec.train.noise import Levels, draw_noised, target_of

SMALL = UNetSize(64, (1, 1, 2, 2), 2, (True, True, True, False), 64)
"""SD 1.x's levels and blocks at a fifth of its width."""
PICTURES, CELLS = 8, 16
WARM = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=20, help="steps of which the fastest counts")
    steps: int = parser.parse_args().steps
    show(rows(steps), f"{torch.get_num_threads()} threads, best of {steps} steps, {PICTURES} pictures a step")


def rows(steps: int) -> Iterator[Row]:
    """The two take turns, so that what else the machine does hits both."""
    with TemporaryDirectory() as folder:
        plain, looped = bare(), in_loop(JsonLines(Path(folder) / "log.jsonl"))
        for work in (plain, looped) * WARM:
            work()
        alone, whole = best([plain, looped], steps)
    yield Row("forward, backward and step of AdamW, all weights of the small UNet", f"{alone * 1e3:.0f} ms")
    yield Row("a step of the loop, with noise, min-SNR, clipping, moving average and log", f"{whole * 1e3:.0f} ms")
    yield at_most("of the bare step's time, added by the loop", (whole / alone - 1) * 100, "%", 10)


@dataclass(frozen=True, slots=True)
class Latents:
    """A batch."""

    latents: Tensor
    context: Tensor
    names: tuple[str, ...]


class Endless:
    """One epoch without end, of one batch."""

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Latents]:
        """The same batch for ever."""
        return itertools.repeat(random_batch())


def random_batch() -> Latents:
    """Latents and a context of random numbers."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(PICTURES, 4, CELLS, CELLS, generator=generator)
    return Latents(latents, torch.randn(PICTURES, 77, SMALL.context, generator=generator), ("a.png",) * PICTURES)


def small_unet() -> UNet:
    """A network that is trained whole."""
    torch.manual_seed(0)
    return UNet(unet_layout(unet_shapes(SMALL)))


def bare() -> Callable[[], object]:
    """A step as short as it can be written."""
    unet, batch = small_unet(), random_batch()
    optimiser = torch.optim.AdamW(unet.parameters(), 1e-4, fused=True)
    noise, timesteps = torch.randn_like(batch.latents), torch.arange(PICTURES)

    def step() -> None:
        F.mse_loss(unet(batch.latents, timesteps, batch.context), noise).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def in_loop(log: JsonLines) -> Callable[[], object]:
    """A step of the loop."""
    unet, levels, noise, objective = small_unet(), Levels.of(), Noise(offset=0.05), Objective(min_snr_gamma=5.0)

    def losses(batch: Latents, generator: torch.Generator) -> Tensor:
        noised = draw_noised(batch.latents, noise, levels, generator)
        prediction = unet(noised.noisy, noised.timesteps, batch.context)
        target = target_of("eps", batch.latents, noised, levels)
        return picture_losses(prediction, target, noised.timesteps, objective, levels, kind="eps")

    groups = [ParameterGroup("unet", list(unet.parameters()), 1e-4)]
    plan = Plan(10**9, 1, ema_decay=0.999, optimiser=Optimiser("AdamW"))
    turns = Loop(groups, losses, Endless(), plan, watch=log).run()
    return lambda: next(turns)


if __name__ == "__main__":
    main()
