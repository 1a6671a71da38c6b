"""Upscale models (ESRGAN, SwinIR, DAT …), which the `spandrel` library recognises and builds."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from graphexec.diffusion.faults import MissingLibrary, StaleValue
from graphexec.diffusion.imaging.batches import need_channels
from graphexec.diffusion.imaging.resize import resize_picture
from graphexec.diffusion.imaging.tiles import TileWork, Tiling
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.stored import open_weights
from graphexec.diffusion.types import UpscaleModel
from graphexec.errors import ModelFileError

__all__ = ["Network", "load_upscaler", "upscale_by_network", "upscale_with_model"]

TILES = (512, 256, 128)
"""Sides of tiles: smaller ones where memory is short."""
OVERLAP = 32

COLORS = 3


class Network(Protocol):
    """What is used of a spandrel model: [1,3,H,W] in 0..1 becomes `scale` times as large."""

    scale: int
    input_channels: int

    def __call__(self, image: Tensor, /) -> Tensor: ...

    def to(self, device: torch.device, /) -> object: ...


def upscale_with_model(
    model: UpscaleModel, picture: Tensor, runtime: Runtime, progress: Callable[[int, int], None]
) -> Tensor:
    """Pictures [B,H,W,C >= 3] through an upscale model, in 0..1 on the CPU; alpha is resized bilinearly.

    Raises ModelFileError for a file that holds no such model, LatentError for too few channels, MissingLibrary
    without spandrel, OutOfMemory where the smallest tiles do not fit either.
    """
    need_channels(picture, COLORS, "an upscale model")
    network = load_upscaler(model)
    runtime.within_memory(lambda: network.to(runtime.device), "loading the upscale model", network=None)
    with torch.no_grad():
        colors = upscale_by_network(network, picture[..., :COLORS].movedim(-1, 1), runtime, progress)
    found = colors.movedim(1, -1).clamp(0, 1)
    if picture.shape[-1] == COLORS:
        return found
    alpha = resize_picture(picture[..., COLORS:], found.shape[2], found.shape[1], "bilinear")
    return torch.cat([found, alpha.to(found)], dim=-1)


def upscale_by_network(
    network: Network, samples: Tensor, runtime: Runtime, progress: Callable[[int, int], None]
) -> Tensor:
    """[B,3,H,W] through a network in overlapping tiles, smaller ones where memory is short.

    Raises OutOfMemory where the smallest tiles do not fit either.
    """
    first, *smaller = (partial(_in_tiles, network, samples, runtime.device, tile, progress) for tile in TILES)
    return runtime.within_memory(first, "upscaling with a model", smaller=smaller, network=None)


def _in_tiles(
    network: Network, samples: Tensor, device: torch.device, tile: int, progress: Callable[[int, int], None]
) -> Tensor:
    tiling = Tiling(tile, tile, OVERLAP)
    total = tiling.count(samples)
    done = iter(range(1, total + 1))
    work = TileWork(lambda part: network(part.to(device)), network.scale, done=lambda: progress(next(done), total))
    return work.tiled(samples, tiling)


def load_upscaler(model: UpscaleModel) -> Network:
    """The network of a file, on the CPU.

    Raises StaleValue if the file changed, ModelFileError if it is none or of a kind that spandrel does not know,
    MissingLibrary without spandrel.
    """
    if not model.file.is_current():
        raise StaleValue(f"{model.file.path} has been changed or removed")
    spandrel = _spandrel()
    file = open_weights(model.file.path)
    try:
        network = spandrel.ModelLoader().load_from_state_dict({name: file.tensor(name) for name in file.shapes})
    except spandrel.UnsupportedModelError as error:
        raise ModelFileError(f"{model.file.path} is no upscale model that spandrel knows: {error}") from error
    if not isinstance(network, spandrel.ImageModelDescriptor) or network.input_channels != COLORS:
        raise ModelFileError(f"{model.file.path} is no upscale model for single pictures in color")
    return network.eval()


def _spandrel() -> Any:
    try:
        return importlib.import_module("spandrel")
    except ImportError as error:
        raise MissingLibrary(
            f"upscale models need the spandrel library ({error}): pip install 'graphexec[upscale]'"
        ) from error
