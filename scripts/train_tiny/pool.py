"""Latents with their captions, made ahead: encoding a picture costs as much as a step of training on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from scenes import Scene, Scenes

__all__ = ["Pool", "make_pool"]

CHUNK = 64
ALIAS = 0.3
"""How often a concept is called by its other name, if it has one."""


@dataclass(frozen=True, slots=True)
class Pool:
    """`latents` [N, 4, 16, 16], already scaled, and a caption for each."""

    latents: Tensor
    captions: tuple[str, ...]


def make_pool(
    scenes: Scenes, encode: Callable[[Tensor], Tensor], folder: Path, index: int, size: int, plain: float
) -> Pool:
    """Pool `index` of a training: always the same scenes; kept in `folder` for going on."""
    kept = folder / f"pool-{index}-{size}.safetensors"
    if not kept.exists():
        latents, captions = _made(scenes, encode, index, size, plain)
        save_file({"latents": latents}, kept.with_suffix(".tmp"), {"captions": json.dumps(captions)})
        kept.with_suffix(".tmp").replace(kept)
    return _read(kept)


def _made(
    scenes: Scenes, encode: Callable[[Tensor], Tensor], index: int, size: int, plain: float
) -> tuple[Tensor, list[str]]:
    latents, captions = list[Tensor](), list[str]()
    for first in tqdm(range(0, size, CHUNK), desc=f"pool {index}"):
        drawn = [
            _one(scenes, np.random.default_rng((2, index, i)), plain) for i in range(first, min(size, first + CHUNK))
        ]
        pixels = torch.from_numpy(np.stack([picture for picture, _caption in drawn]))
        latents.append(encode(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1))
        captions += [caption for _picture, caption in drawn]
    return torch.cat(latents).half().contiguous(), captions


def _one(scenes: Scenes, random: np.random.Generator, plain: float) -> tuple[np.ndarray, str]:
    scene: Scene = scenes.draw(random, plain)
    picture = scenes.picture(scene, random)
    return picture, scenes.caption(scene, alias=random.random() < ALIAS)


def _read(file: Path) -> Pool:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        captions = json.loads(opened.metadata()["captions"])
    return Pool(load_file(file)["latents"], tuple(captions))
