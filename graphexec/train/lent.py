"""Gradient checkpointing: activations are computed a second time instead of kept (Chen et al. 2016)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from graphexec.diffusion.models.unet import ResBlock, SpatialTransformer

__all__ = ["checkpointed"]


@contextmanager
def checkpointed(network: nn.Module, wanted: bool = True) -> Generator[None]:
    """The residual blocks and transformers of a network keep no activations, for the length of the block."""
    layers = [layer for layer in network.modules() if wanted and isinstance(layer, ResBlock | SpatialTransformer)]
    try:
        for layer in layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)
