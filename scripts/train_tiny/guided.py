"""Fourth stage: the UNet learns to be asked at cfg 7, from itself.

Guidance takes seven times the difference that a caption makes. Under heavy noise that is what makes pictures clear.
Under little noise the UNet knows the drawing from its caption to every edge, and knows little of it without; seven
times that difference drew rims too dark, holes beside them, and grounds that were not even. So a copy of the UNet
learns to have its captions count for less there, such that the guided estimate is what less guidance gave before.

python scripts/train_tiny/guided.py --start CHECKPOINT --out CHECKPOINT
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from checkpoint import concepts_of, networks_of, read_checkpoint, save_checkpoint, weights_of
from denoiser import OBJECTIVE, Drawn, PoolBatches, Pools
from emoji import drawings
from graphexec.train.config import Noise, Optimiser, Schedule
from graphexec.train.groups import ParameterGroup
from graphexec.train.loop import Loop, Plan
from graphexec.train.loss import picture_losses
from graphexec.train.noise import Levels, draw_noised
from progress import Report, go_on
from scenes import Scenes
from stages import begun, dividing, stage_parser
from tokens import Tokens, Told

CFG, LEAST = 7.0, 2.0
LITTLE, HEAVY = 1.3, 4.0
"""The deviations of noise, in parts of the latents', up to which guidance is to count `LEAST` times, and from which it
counts `CFG` times. Between them it grows evenly in their logarithms."""
NOISE = Noise(max_timestep=850)
"""Above, nothing is to change."""
ALONE = 4.0
"""How much the estimate without a caption, which is to stay, counts beside the guided one."""
OPTIMISER, EMA = Optimiser("Muon", 0.002), 0.98
SEED = 0


def guidance(levels: Levels) -> Tensor:
    """How often the difference that a caption makes is to count at each timestep, `LEAST` to `CFG`, [1000]."""
    grown = (levels.snr.rsqrt() / LITTLE).log() / math.log(HEAVY / LITTLE)
    return LEAST * (CFG / LEAST) ** grown.clamp(0, 1)


class Learning:
    """The objective: the estimate at `CFG` as the teacher's at less; `nothing` [77, 64] is the empty caption's."""

    def __init__(self, unet: nn.Module, nothing: Tensor, device: str, run: Callable[..., Tensor]) -> None:
        self.unet, self.teacher, self.device, self.run = unet, copy.deepcopy(unet), device, run
        self.nothing, self.levels = nothing.to(device), Levels.of(device=device)
        self.guidance = guidance(self.levels)

    def __call__(self, batch: Drawn, generator: torch.Generator) -> Tensor:
        noised = draw_noised(batch.alike[:, 0].to(self.device), NOISE, self.levels, generator)
        return self.run(self._losses, noised.noisy, noised.timesteps, batch.told.to(self.device))

    def _losses(self, noisy: Tensor, timesteps: Tensor, told: Tensor) -> Tensor:
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        found, without = self._both(self.unet, noisy, timesteps, told)
        with torch.no_grad():
            known, known_without = self._both(self.teacher, noisy, timesteps, told)
            wanted = known_without + self.guidance[timesteps][:, None, None, None] * (known - known_without)
        guided = without + CFG * (found - without)
        pairs = ((guided, wanted), (without, known_without))
        led, alone = (picture_losses(*pair, timesteps, OBJECTIVE, self.levels, kind="eps") for pair in pairs)
        return led + ALONE * alone

    def _both(self, unet: nn.Module, noisy: Tensor, timesteps: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """The noise that is seen with captions and without, [B, 4, h, w] each."""
        contexts = torch.cat([told, self.nothing.expand_as(told)])
        found, without = unet(torch.cat([noisy, noisy]), torch.cat([timesteps, timesteps]), contexts).chunk(2)
        return found, without


def main() -> None:
    given = _given()
    scenes, tokens, weights = Scenes(drawings(given.folder)), Tokens(), read_checkpoint(given.start)
    made = networks_of(weights, given.device)
    told, trained = Told(made["text"], tokens), list(made["unet"].parameters())
    learning = Learning(made["unet"], told(""), given.device, dividing(trained, given))
    pools = Pools(scenes, made["vae"], given.folder, given.pool, given.plain, given.device)
    plan = Plan(given.steps, SEED, ema_decay=EMA, optimiser=OPTIMISER, schedule=Schedule("cosine", warmup=20))
    groups = [ParameterGroup("unet", trained, OPTIMISER.learning_rate)]
    batches, report = PoolBatches(pools, told, given.batch, passes=10**9), Report(given.folder / "guided.jsonl")
    loop = Loop(groups, learning, batches, plan, watch=report, device=given.device)
    go_on(loop, given.folder / "guided-state", given.minutes)
    with loop.averaged():
        weights["unet"] = weights_of(made["unet"])
    save_checkpoint(given.out, weights, tokens.used(("", *scenes.all_words())), concepts_of(given.start))


def _given() -> argparse.Namespace:
    parser = stage_parser(__doc__, steps=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--start", type=Path, default=Path("build/tiny/denoiser.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("build/tiny/guided.safetensors"))
    parser.add_argument("--pool", type=int, default=2048)
    parser.add_argument("--plain", type=float, default=0.5, help="part of the pictures that is one drawing on white")
    return begun(parser)


if __name__ == "__main__":
    main()
