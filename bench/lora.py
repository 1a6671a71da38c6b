"""What a change of LoRA strength costs on a loaded SD 1.5, and ten LoRAs: `python bench/lora.py [FOLDER]`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import torch
from checkpoints import arguments, full_size, ten_loras
from report import Row, at_least, at_most, best, show

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.save import lora_reader, patched_unet
from graphexec.diffusion.types import Model

RUNS = 7
LEVELS = ("input_blocks", "middle_block", "output_blocks")


def main() -> None:
    """Measure and print."""
    folder: Path = arguments(__doc__).parse_args().folder
    model = open_checkpoint(full_size(folder, "ref_sd15"))[0]
    show(rows(model, ten_loras(folder / "loras")), f"{torch.get_num_threads()} threads, best of {RUNS}")


def rows(model: Model, loras: list[Path]) -> Iterator[Row]:
    """All that is measured, on a runtime that has the network."""
    runtime = Runtime("cpu")
    use(runtime, model)
    again = patching_again(model, loras[0])
    one, ten = best([switching(runtime, model, loras[:1]), switching(runtime, model, loras)], RUNS)
    yield Row("SD 1.5's UNet loaded and one LoRA of rank 16 patched in", f"{again:.3f} s")
    yield Row("strength of that LoRA changed on the loaded network", f"{one:.3f} s")
    yield at_least("loading and patching to changing", again / one, "times", 2.5)
    yield Row("strength of ten LoRAs changed", f"{ten:.3f} s")
    yield Row("ten LoRAs to one: one pass over the weights, ten times the arithmetic", f"{ten / one:.2f} times")
    yield from linearity(runtime, model, loras[0])


def patching_again(model: Model, lora: Path) -> float:
    """What it takes without a store: the network loaded anew, then patched."""
    patched = model.patched(lora, 0.5)
    return best([lambda: use(Runtime("cpu"), patched)], 3)[0]


def linearity(runtime: Runtime, model: Model, lora: Path) -> Iterator[Row]:
    """One LoRA on a part of the network, and on more and more of it."""
    found: list[float] = []
    for some in range(1, len(LEVELS) + 1):
        off = tuple((level, 0.0) for level in LEVELS[some:])
        network = patched_unet(model.patched(lora, 1.0, off), lora_reader())
        touched = sum(torch.Size(network.base.shapes[name]).numel() for name in network.steps) * 4
        took = best([switching(runtime, model, [lora], off)], RUNS)[0]
        found.append(took / touched)
        what = "strength changed on " + ", ".join(LEVELS[:some])
        yield Row(what, f"{took * 1e3:.0f} ms for {touched / 2**20:.0f} MiB: {took / touched * 2**30:.3f} s a GiB")
    yield at_most("the dearest byte to the cheapest", max(found) / min(found), "times", 1.25)


def switching(
    runtime: Runtime, model: Model, loras: list[Path], blocks: tuple[tuple[str, float], ...] = ()
) -> Callable[[], object]:
    """Changes strengths to others at every call, having set them once."""
    strengths = (0.5 + i % 17 / 100 for i in count())

    def switch(strength: float) -> None:
        patched = model
        for i, lora in enumerate(loras):
            patched = patched.patched(lora, strength + i / 10, blocks)
        use(runtime, patched)

    switch(next(strengths))
    return lambda: switch(next(strengths))


def use(runtime: Runtime, model: Model) -> None:
    """Have the UNet of a recipe ready."""
    with runtime.unet(model):
        pass


if __name__ == "__main__":
    main()
