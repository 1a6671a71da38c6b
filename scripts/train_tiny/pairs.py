"""Latents as the UNet makes them at cfg 7, each with the picture that it was to be.

Noise is added to the latents of a picture, and they are sampled on from there: so what comes out lies where the picture
lies, but has the UNet's faults.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from graphexec.diffusion.models.vae import Autoencoder
from graphexec.diffusion.sampling.discrete import ModelSampling, model_sampling
from graphexec.diffusion.sampling.noise import SeededNoise
from graphexec.diffusion.sampling.samplers import SAMPLER_FUNCTIONS, Run, Steps
from graphexec.diffusion.sampling.schedules import sampling_sigmas
from graphexec.diffusion.types import Sampling
from guided import CFG
from parallel import one_thread_each
from pool import ALIAS, CHUNK
from scenes import Scenes, tensor_of
from tokens import Told
from whiten import SCALE

__all__ = ["STEPS", "Pairs", "Sampler", "make_pairs"]

STEPS = 25
BEGUN = 2.6
"""The noise that is added, in parts of the latents' deviation: it leaves open what the drawing looks like, not where
it lies."""
FILE = 400
PLAIN = 0.6
COARSE, APART = 4, 0.15
"""Pictures that are further apart when seen so coarsely (root mean square of 0 to 1) show something else."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """`latents` [N, 4, 16, 16] as the autoencoder has them, and `pictures` [N, 128, 128, 3] uint8."""

    latents: Tensor
    pictures: Tensor


class Sampler:
    """Samples latents on from noise, as `euler_ancestral` with `karras` does."""

    def __init__(self, unet: nn.Module, nothing: Tensor, device: str) -> None:
        self.unet, self.nothing, self.device = unet, nothing.to(device), device
        self.levels = model_sampling(Sampling())
        sigmas = sampling_sigmas(self.levels, "karras", STEPS)
        self.sigmas = [sigma for sigma in sigmas if sigma <= BEGUN]

    @torch.no_grad()
    def __call__(self, latents: Tensor, told: Tensor, seed: int) -> Tensor:
        """Latents [B, 4, 16, 16] of unit deviation, under noise and out of it again; `told` [B, 77, 64]."""
        latents, told = latents.to(self.device), told.to(self.device)
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed)).to(self.device)
        guided = _Guided(self.unet, self.levels, torch.cat([told, self.nothing.expand_as(told)]))
        begun = latents + self.sigmas[0] * noise
        run = Run(guided, begun, self.sigmas, self.levels, SeededNoise(begun, seed + 1))
        return _result(SAMPLER_FUNCTIONS["euler_ancestral"](run))


@dataclass(frozen=True, slots=True, eq=False)
class _Guided:
    """Estimates the latents under noise; `contexts` [2B, 77, 64]: with captions, then without."""

    unet: nn.Module
    levels: ModelSampling
    contexts: Tensor

    def __call__(self, x: Tensor, sigma: float, /) -> Tensor:
        return self.with_uncond(x, sigma)[0]

    def with_uncond(self, x: Tensor, sigma: float, /) -> tuple[Tensor, Tensor]:
        seen = self.levels.scale_input(torch.cat([x, x]), sigma).contiguous(memory_format=torch.channels_last)
        timesteps = torch.full((len(seen),), self.levels.timestep(sigma), device=x.device)
        output = self.unet(seen, timesteps, self.contexts)
        found, without = self.levels.denoised(output, sigma, torch.cat([x, x])).chunk(2)
        return without + CFG * (found - without), without


def _result(steps: Steps) -> Tensor:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def make_pairs(
    scenes: Scenes, networks: Mapping[str, nn.Module], told: Told, folder: Path, count: int, device: str, threads: int
) -> Pairs:
    """The first `count` pairs of a model, less those whose picture became another; kept in `folder` for going on."""
    folder.mkdir(parents=True, exist_ok=True)
    maker = _Maker(scenes, networks["vae"], Sampler(networks["unet"], told(""), device), told)
    made = [_kept(maker, folder / f"{i}.safetensors", i, threads) for i in range(math.ceil(count / FILE))]
    return Pairs(*(torch.cat([each[name] for each in made]) for name in ("latents", "pictures")))


def _kept(maker: _Maker, file: Path, index: int, threads: int) -> dict[str, Tensor]:
    if not file.exists():
        chunks = range(index * FILE // CHUNK, (index + 1) * FILE // CHUNK)
        with one_thread_each(threads) as pool:
            made = list(tqdm(pool.map(maker, chunks), total=len(chunks), desc=file.stem))
        latents, pictures = (torch.cat(parts) for parts in zip(*made, strict=True))
        save_file({"latents": latents.contiguous(), "pictures": pictures}, file.with_suffix(".tmp"))
        file.with_suffix(".tmp").replace(file)
    return load_file(file)


@dataclass(frozen=True, slots=True, eq=False)
class _Maker:
    scenes: Scenes
    vae: Autoencoder
    sampler: Sampler
    told: Told

    @torch.no_grad()
    def __call__(self, chunk: int) -> tuple[Tensor, Tensor]:
        """The latents, fp16, and pictures of a chunk."""
        random = np.random.default_rng((12, chunk))
        asked = [self.scenes.draw(random, PLAIN) for _ in range(CHUNK)]
        pictures = [self.scenes.picture(scene, random) for scene in asked]
        captions = [self.scenes.caption(scene, alias=random.random() < ALIAS) for scene in asked]
        pixels = tensor_of(pictures).to(self.sampler.device)
        sampled = self.sampler(self.vae.encode(pixels) * SCALE, torch.stack([*map(self.told, captions)]), 2 * chunk)
        near = (_apart(self.vae.decode(sampled / SCALE), pixels) < APART).cpu()
        return (sampled.cpu()[near] / SCALE).half(), torch.from_numpy(np.stack(pictures))[near]


def _apart(made: Tensor, wanted: Tensor) -> Tensor:
    """How far pictures in -1..1 are apart when seen coarsely, [B]."""
    return (F.avg_pool2d(made.clamp(-1, 1) - wanted, COARSE) / 2).square().mean(dim=(1, 2, 3)).sqrt()
