"""One guided step of SD 1.5 on a CPU: what is added around the UNet, and bf16: `python bench/step.py [FOLDER]`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from checkpoints import SD15, arguments, conditioning, empty, full_size, names_in_diffusers
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
    exact = in_precision(runtime, model, pixels, "fp32")
    yield Row(f"the UNet alone, batch of 2, {pixels} x {pixels} pixels, fp32", f"{exact.alone:.2f} s")
    yield Row("a step with cfg 7 (Euler), fp32", f"{exact.whole:.2f} s")
    yield at_most("of a step's time, spent outside the UNet", exact.around * 100, "%", 1)
    yield from peer_rows(runtime, model, pixels)
    rounded = in_precision(runtime, model, pixels, "bf16")
    yield Row("a step with cfg 7, bf16", f"{rounded.whole:.2f} s")
    yield at_least("fp32 to bf16", exact.whole / rounded.whole, "times", 1.6)


def peer_rows(runtime: Runtime, model: Model, pixels: int) -> Iterator[Row]:
    """The same network of diffusers, with the same weights; the two take turns."""
    if importlib.util.find_spec("diffusers") is None:
        yield Row("the UNet of diffusers", "not installed")
        return
    x, context = torch.randn(2, 4, pixels // 8, pixels // 8), torch.randn(2, 77, 768)
    timesteps = torch.full((2,), 500.0)
    with runtime.unet(model) as unet, torch.inference_mode():
        theirs = diffusers_unet(unet)
        found = unet(x, timesteps, context)
        apart = torch.linalg.vector_norm(theirs(x, timesteps, context).sample - found) / torch.linalg.vector_norm(found)
        ours, peer = best([lambda: unet(x, timesteps, context), lambda: theirs(x, timesteps, context)], STEPS)
    yield Row(f"the UNet alone of diffusers {importlib.metadata.version('diffusers')}, fp32", f"{peer:.2f} s")
    yield Row("diffusers to graphexec; the results differ by", f"{peer / ours:.2f} times; {float(apart):.1g}")


def diffusers_unet(unet: nn.Module) -> nn.Module:
    """SD 1.5's UNet of diffusers, in the memory of ours."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        network = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
    weights = unet.state_dict()
    shapes = {name: weight.shape for name, weight in network.state_dict().items()}
    state = {theirs: weights[ours].view(shapes[theirs]) for theirs, ours in names_in_diffusers(SD15).items()}
    network.load_state_dict(state, assign=True)
    return network.eval()


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
        x, context = torch.randn(2, 4, pixels // 8, pixels // 8, dtype=dtype), torch.randn(2, 77, 768, dtype=dtype)
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
