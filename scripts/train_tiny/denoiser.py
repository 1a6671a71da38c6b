"""Third stage: the UNet, on latents of scenes and on what the text encoder makes of their captions."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from checkpoint import networks_of, read_checkpoint, save_checkpoint, weights_of
from emoji import drawings
from graphexec.train.config import Noise, Objective, Optimiser, Schedule
from graphexec.train.groups import ParameterGroup
from graphexec.train.loop import Loop, Plan
from graphexec.train.loss import picture_losses
from graphexec.train.noise import Levels, Noised, draw_noised
from parallel import whole
from pool import Pool, make_pool
from progress import Report, go_on
from scenes import Scenes
from stable import stable_noise
from stages import begun, dividing, stage_parser
from tokens import Tokens, Told
from whiten import SCALE

EMPTY = 0.1
"""The part of pictures that is learned without a caption, for guidance."""
OBJECTIVE = Objective(debiased=True)
HEAVY, LIGHT = Noise(min_timestep=500), Noise(max_timestep=500)
HEAVY_PART = 0.75
"""Three quarters of the pictures are under heavy noise: there it is decided what they show. Once that is known, what is
soft or awry comes from below, and a training that goes on does well with fewer."""
ALIKE = 16
"""How many pictures of one caption make a target."""
RATE = 0.02
EMA = 0.995
SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Latents of like pictures, each one's own first, [B, K, 4, 16, 16], which of them are missing, [B, K], and what
    the text encoder makes of their captions, [B, 77, 64]."""

    alike: Tensor
    missing: Tensor
    told: Tensor
    names: Sequence[str]


class PoolBatches:
    """Batches out of pools of latents; each pool serves some epochs, then the next is made."""

    def __init__(self, pools: Pools, told: Told, batch: int, passes: int) -> None:
        self.pools, self.told, self.batch, self.passes = pools, told, batch, passes

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Drawn]:
        pool = self.pools.get(epoch // self.passes)
        order = np.random.default_rng((7, epoch)).permutation(len(pool.captions))
        for start in range(first * self.batch, len(order) - self.batch + 1, self.batch):
            yield self._drawn(pool, order[start : start + self.batch])

    def _drawn(self, pool: Pool, chosen: np.ndarray) -> Drawn:
        captions = [pool.captions[i] for i in chosen]
        alike = torch.from_numpy(np.stack([pool.alike(i, ALIKE) for i in chosen]))
        return Drawn(pool.latents[alike].float(), alike < 0, torch.stack([*map(self.told, captions)]), captions)


class Pools:
    """Pools of latents by their number."""

    def __init__(self, scenes: Scenes, vae: nn.Module, folder: Path, size: int, plain: float, device: str) -> None:
        self.scenes, self.vae, self.folder = scenes, vae, folder
        self.size, self.plain, self.device = size, plain, device
        self._last: tuple[int, Pool] | None = None

    def get(self, index: int) -> Pool:
        if self._last is None or self._last[0] != index:
            made = make_pool(self.scenes, self._encode, self.folder, index, self.size, self.plain)
            self._last = index, made
        return self._last[1]

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> Tensor:
        return self.vae.encode(pixels.to(self.device)).cpu() * SCALE


class Learning:
    """The objective: the noise in latents, seen through, given what is told of the picture; `nothing` [77, 64] is the
    empty caption's, `heavy` the part of the pictures that is under heavy noise."""

    def __init__(self, unet: nn.Module, nothing: Tensor, heavy: float, device: str, run: Callable[..., Tensor]) -> None:
        self.unet, self.heavy, self.device, self.run = unet, heavy, device, run
        self.nothing, self.levels = nothing.to(device), Levels.of(device=device)

    def __call__(self, batch: Drawn, generator: torch.Generator) -> Tensor:
        alike, missing, told = (t.to(self.device) for t in (batch.alike, batch.missing, batch.told))
        empty = torch.rand(len(told), 1, 1, generator=generator, device=generator.device) < EMPTY
        told = torch.where(empty, self.nothing, told)
        noised = _noised(alike[:, 0], self.heavy, self.levels, generator)
        target = stable_noise(noised, alike, missing, self.levels)
        return self.run(self._losses, noised.noisy, noised.timesteps, told, target)

    def _losses(self, noisy: Tensor, timesteps: Tensor, told: Tensor, target: Tensor) -> Tensor:
        found = self.unet(noisy.contiguous(memory_format=torch.channels_last), timesteps, told)
        return picture_losses(found, target, timesteps, OBJECTIVE, self.levels, kind="eps")


def _noised(latents: Tensor, heavy: float, levels: Levels, generator: torch.Generator) -> Noised:
    count = round(heavy * len(latents))
    parts = (
        draw_noised(latents[:count], HEAVY, levels, generator), draw_noised(latents[count:], LIGHT, levels, generator),
    )  # fmt: skip
    return Noised(*(torch.cat([getattr(part, name) for part in parts]) for name in ("noisy", "noise", "timesteps")))


def main() -> None:
    given = _given()
    scenes, tokens = Scenes(drawings(given.folder)), Tokens()
    first = read_checkpoint(given.start) if given.start else _of_stages(given.folder, ("vae", "text"))
    made = networks_of(first, given.device)
    pools = Pools(scenes, made["vae"], given.folder, given.pool, given.plain, given.device)
    told = Told(made["text"], tokens)
    plan = Plan(
        given.steps, SEED, precision=given.precision, ema_decay=EMA, optimiser=Optimiser("Muon", given.rate),
        schedule=Schedule("cosine", warmup=100),
    )  # fmt: skip
    trained = list(made["unet"].parameters())
    run = dividing(trained, given) if given.precision == "fp32" else whole  # autocast is of one thread
    learning = Learning(made["unet"], told(""), given.heavy, given.device, run)
    batches, report = PoolBatches(pools, told, given.batch, given.passes), Report(given.folder / "denoiser.jsonl")
    groups = [ParameterGroup("unet", trained, given.rate)]
    loop = Loop(groups, learning, batches, plan, watch=report, device=given.device)
    go_on(loop, given.folder / "denoiser-state", given.minutes)
    with loop.averaged():
        weights = {part: weights_of(network) for part, network in made.items()}
    save_checkpoint(given.out, weights, tokens.used(("", *scenes.all_words())), scenes.drawings.names)


def _of_stages(folder: Path, parts: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    return {part: load_file(folder / f"{part}.safetensors") for part in parts}


def _given() -> argparse.Namespace:
    parser = stage_parser(__doc__, steps=13_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("build/tiny/denoiser.safetensors"))
    parser.add_argument("--start", type=Path, help="a checkpoint to go on from")
    parser.add_argument("--pool", type=int, default=6144)
    parser.add_argument("--passes", type=int, default=6, help="epochs over each pool")
    parser.add_argument("--plain", type=float, default=0.5, help="part of the pictures that is one drawing on white")
    parser.add_argument("--heavy", type=float, default=HEAVY_PART, help="part of the pictures under heavy noise")
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate that it begins with")
    parser.add_argument("--precision", default="fp32")
    return begun(parser)


if __name__ == "__main__":
    main()
