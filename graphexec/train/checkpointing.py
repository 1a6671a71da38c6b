"""Gradient checkpointing (Chen et al. 2016): feature maps inside blocks are computed again instead of kept."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from graphexec.diffusion.models.clip import EncoderLayer
from graphexec.diffusion.models.unet import ResBlock, TransformerBlock

__all__ = ["checkpoint_blocks"]

BLOCKS = (ResBlock, TransformerBlock, EncoderLayer)


def checkpoint_blocks(networks: Iterable[nn.Module]) -> None:
    """Let the blocks of networks, which are no others' too, keep only what goes into them.

    Nothing that is trained draws from torch's own generators, so their states need not be kept.
    """
    for network in networks:
        for module in network.modules():
            if isinstance(module, BLOCKS):
                module.forward = partial(checkpoint, module.forward, use_reentrant=False, preserve_rng_state=False)
