"""Networks that a runtime lends, checkpointed for as long as they are trained on."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn

from graphexec.train.checkpointing import checkpoint_blocks

__all__ = ["checkpointed"]


@contextmanager
def checkpointed(network: nn.Module, wanted: bool) -> Generator[None]:
    """Let a network keep few feature maps, if wanted, for the length of the block."""
    try:
        if wanted:
            checkpoint_blocks([network])
        yield
    finally:
        for module in network.modules():
            module.__dict__.pop("forward", None)
