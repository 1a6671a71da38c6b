"""Everything that should be fast on a GPU, with checkpoints of random numbers: `python bench/gpu.py [FOLDER]`.

Times include waiting for the GPU. `--tiny --device cpu` runs the same on small networks, to see that it works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
from checkpoints import arguments, empty, full_size, lora_of, write_checkpoint
from report import Row, at_most, best, show

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.compiled import Compiling
from graphexec.diffusion.encode import encode_prompt
from graphexec.diffusion.images import vae_decode
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.run import sample
from graphexec.diffusion.types import Clip, Conditioning, Latent, Model, Vae

RANK = 16


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured on: checkpoints, sides of their pictures in pixels, steps of a whole run, and repetitions."""

    sdxl: Path
    sd15: Path
    large: int = 1024
    small: int = 512
    steps: int = 30
    runs: int = 3


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="networks of a few megabytes, made in the folder")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("bench/gpu.py: there is no CUDA device; --tiny --device cpu shows that the measurement works")
    setting = tiny(options.folder) if options.tiny else full(options.folder)
    name = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    show(rows(setting, options.device), name, f"best of {setting.runs}")


def full(folder: Path) -> Setting:
    """Checkpoints of full size, made unless they are there."""
    return Setting(full_size(folder, "ref_sdxl"), full_size(folder, "ref_sd15"))


def tiny(folder: Path) -> Setting:
    """The smallest checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    sdxl = write_checkpoint(folder / "tiny_sdxl.safetensors", family="sdxl")
    return Setting(sdxl, write_checkpoint(folder / "tiny_sd15.safetensors"), 64, 64, 3, 1)


def rows(setting: Setting, device: str) -> Iterator[Row]:
    """All that is measured, each network on a runtime of its own."""
    yield from sd15_rows(setting, device)
    model, clip, vae = open_checkpoint(setting.sdxl)
    load = best([lambda: ready(Runtime(device), model, clip, vae)], setting.runs + 1)[0]
    yield at_most("SDXL from the page cache, all networks ready", load, "s", 0.5)
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    runtime = Runtime(device)
    picture = Picture(runtime, model, clip, vae, setting.large)
    yield at_most(f"SDXL {setting.large}², cfg, batch 1, a step", picture.step(setting.runs) * 1e3, "ms", 36)
    latent = Latent(torch.randn(1, 4, setting.large // 8, setting.large // 8))
    decode = best([lambda: vae_decode(runtime, vae, latent)], setting.runs + 1)[0]
    yield at_most(f"VAE decode {setting.large}²", decode * 1e3, "ms", 30)
    whole = best([lambda: picture.make(setting.steps)], setting.runs)[0]
    yield at_most(f"{setting.steps} steps end to end, warm: two prompts, sampling, decode", whole, "s", 1.15)
    if device == "cuda":
        yield at_most("memory at most, SDXL's load included", torch.cuda.max_memory_allocated() / 2**30, "GiB", 8.8)
    else:
        yield Row("memory at most", "only known of a GPU", "at most 8.8 GiB")
    lora = lora_of(setting.sdxl, RANK)
    switch = best([switching(runtime, model, lora)], setting.runs * 2)[0]
    yield at_most(f"LoRA strength change, rank {RANK} on all of the UNet's transformers", switch * 1e3, "ms", 25)


def sd15_rows(setting: Setting, device: str) -> Iterator[Row]:
    """SD 1.5 alone, and nothing of it stays."""
    model, clip, vae = open_checkpoint(setting.sd15)
    ways: dict[str, Compiling | None] = {"": None}
    if device == "cuda":  # a CPU takes a minute to compile even a small one
        ways |= {", compiled": "kernels", ", CUDA graphs": "graphs"}
    for named, compiling in ways.items():
        step = Picture(Runtime(device, compiling=compiling), model, clip, vae, setting.small).step(setting.runs)
        yield at_most(f"SD 1.5 {setting.small}², cfg, batch 1, a step{named}", step * 1e3, "ms", 7)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to be made."""

    runtime: Runtime
    model: Model
    clip: Clip
    vae: Vae
    pixels: int

    def step(self, runs: int) -> float:
        """Seconds of a step: what ten more of them cost, without what a run costs beside its steps."""
        positive, negative = (encode_prompt(self.runtime, self.clip, text) for text in ("a house", "blurry"))

        def run(steps: int) -> Callable[[], object]:
            return lambda: self._sampled(positive, negative, steps)

        few, many = best([run(2), run(12)], runs)
        return (many - few) / 10

    def make(self, steps: int) -> None:
        """From prompts to pixels on the host."""
        positive, negative = (encode_prompt(self.runtime, self.clip, text) for text in ("a house", "blurry"))
        vae_decode(self.runtime, self.vae, self._sampled(positive, negative, steps))

    def _sampled(self, positive: Conditioning, negative: Conditioning, steps: int) -> Latent:
        return sample(
            self.runtime, self.model, positive, negative, empty(self.pixels), seed=0, steps=steps, cfg=7.0,
            sampler_name="euler", scheduler="normal",
        )  # fmt: skip


def ready(runtime: Runtime, model: Model, clip: Clip, vae: Vae) -> None:
    """Every network of a checkpoint on the device."""
    with runtime.unet(model), runtime.vae(vae):
        for encoder in clip.encoders:
            with runtime.text_encoder(encoder):
                finish(runtime)


def switching(runtime: Runtime, model: Model, lora: Path) -> Callable[[], object]:
    """Changes the strength to another at every call, having set it once."""
    strengths = (0.5 + i % 17 / 100 for i in count())

    def switch() -> None:
        with runtime.unet(model.patched(lora, next(strengths))):
            finish(runtime)

    switch()
    return switch


def finish(runtime: Runtime) -> None:
    """Wait for what the GPU was told to do."""
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)


if __name__ == "__main__":
    main()
