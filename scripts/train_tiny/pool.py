"""Latents with their captions, made ahead: encoding a picture costs as much as a step of training on it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from scenes import Scenes, tensor_of

__all__ = ["Pool", "make_pool"]

CHUNK = 16
REPEATS = 4
"""How often each scene is drawn, each time placed anew: what is alike steadies the targets (stable.py)."""
ALIAS = 0.3
"""How often a concept is called by its other name, if it has one."""


@dataclass(frozen=True, slots=True)
class Pool:
    """`latents` [N, 4, 16, 16], already scaled, and a caption for each."""

    latents: Tensor
    captions: tuple[str, ...]
    _by_caption: Mapping[str, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        found = defaultdict[str, list[int]](list)
        for i, caption in enumerate(self.captions):
            found[caption].append(i)
        object.__setattr__(self, "_by_caption", found)

    def alike(self, index: int, most: int) -> NDArray[np.int64]:
        """The indices of pictures of one caption, from `index` on round about; -1 where there are no more."""
        same = self._by_caption[self.captions[index]]
        at = same.index(index)
        found = np.full(most, -1)
        chosen = (same[at:] + same[:at])[:most]
        found[: len(chosen)] = chosen
        return found


def make_pool(
    scenes: Scenes, encode: Callable[[Tensor], Tensor], folder: Path, index: int, size: int, plain: float
) -> Pool:
    """Pool `index` of a training: always the same scenes; kept in `folder` for going on."""
    kept = folder / f"pool-{plain}-{index}-{size}.safetensors"
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
        drawn = [_one(scenes, index, i, plain) for i in range(first, min(size, first + CHUNK))]
        latents.append(encode(tensor_of([picture for picture, _caption in drawn])))
        captions += [caption for _picture, caption in drawn]
    return torch.cat(latents).half().contiguous(), captions


def _one(scenes: Scenes, index: int, i: int, plain: float) -> tuple[np.ndarray, str]:
    random = np.random.default_rng((2, index, i // REPEATS))
    scene = scenes.draw(random, plain)
    caption = scenes.caption(scene, alias=random.random() < ALIAS)
    return scenes.picture(scene, np.random.default_rng((3, index, i))), caption


def _read(file: Path) -> Pool:
    with safe_open(file, "pt") as opened:
        return Pool(opened.get_tensor("latents"), tuple(json.loads(opened.metadata()["captions"])))
