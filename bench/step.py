"""One guided step of SD 1.5 on a CPU: what is added around the UNet, and bf16: `python bench/step.py [FOLDER]`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from checkpoints import arguments, conditioning, empty, full_size
from report import Row, at_least, at_most, best, show
from torch import nn

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.run import sample
from graphexec.diffusion.types import Model, Precision

STEPS = 3


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--pixels", type=int, default=512, help="sides of the picture")
    options = parser.parse_args()
    folder: Path = options.folder
    model = open_checkpoint(full_size(folder, "ref_sd15"))[0]
    show(rows(model, options.pixels), f"{torch.get_num_threads()} threads, best of {STEPS} steps")


def rows(model: Model, pixels: int) -> Iterator[Row]:
    """All that is measured."""
    runtime = Runtime("cpu")
    exact, rounded = (in_precision(runtime, model, pixels, precision) for precision in ("fp32", "bf16"))
    yield Row(f"the UNet alone, batch of 2, {pixels} x {pixels} pixels, fp32", f"{exact.alone:.2f} s")
    yield Row("a step with cfg 7 (Euler), fp32", f"{exact.whole:.2f} s")
    yield at_most("of a step's time, spent outside the UNet", exact.around * 100, "%", 1)
    yield Row("a step with cfg 7, bf16", f"{rounded.whole:.2f} s")
    yield at_least("fp32 to bf16", exact.whole / rounded.whole, "times", 1.6)


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of the bare network and of a step, and the fraction of a step that is not the network's."""

    alone: float
    whole: float
    around: float


def in_precision(runtime: Runtime, model: Model, pixels: int, precision: Precision) -> Measured:
    """The network alone, and steps of a run with it."""
    model = replace(model, dtype=precision)
    dtype = runtime.dtype_of(model)
    with runtime.unet(model) as unet, torch.inference_mode():
        x, context = empty(pixels).samples.to(dtype).repeat(2, 1, 1, 1), torch.zeros(2, 77, 768, dtype=dtype)
        alone = best([lambda: unet(x, torch.full((2,), 500.0), context)], STEPS)[0]
        clock = Clock()
        clock.watch(unet)
        run(runtime, model, pixels, STEPS + 1, clock)
    # The first step also makes the conditioning ready.
    whole = [after - before for before, after in zip(clock.ends, clock.ends[1:], strict=False)]
    return Measured(alone, min(whole), 1 - sum(clock.inside[1:]) / sum(whole))


def run(runtime: Runtime, model: Model, pixels: int, steps: int, clock: Clock) -> None:
    """Sample with guidance."""
    sample(
        runtime, model, conditioning(768, 0), conditioning(768, 1), empty(pixels), seed=0, steps=steps, cfg=7.0,
        sampler_name="euler", scheduler="normal", on_step=lambda step: clock.ends.append(time.perf_counter()),
    )  # fmt: skip


@dataclass(slots=True)
class Clock:
    """When steps ended, and how long the network computed in each."""

    ends: list[float] = field(default_factory=list[float])
    inside: list[float] = field(default_factory=list[float])
    began: float = 0.0

    def watch(self, network: nn.Module) -> None:
        """Look at each forward pass of a network from now on."""
        network.register_forward_pre_hook(self._begin)
        network.register_forward_hook(self._end)

    def _begin(self, network: nn.Module, inputs: object) -> None:
        self.began = time.perf_counter()

    def _end(self, network: nn.Module, inputs: object, output: object) -> None:
        self.inside.append(time.perf_counter() - self.began)


if __name__ == "__main__":
    main()
