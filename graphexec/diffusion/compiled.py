"""UNets compiled by torch, with their launches recorded in CUDA graphs where that is asked for."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphexec.diffusion.faults import CompilingError

__all__ = ["Compiled", "Compiling"]

Compiling = Literal["kernels", "graphs"]
"""Kernels made for the network; launches recorded in CUDA graphs as well, which a CPU does without."""


class Compiled:
    """A network's forward pass, compiled by its first call, and again for other sizes.

    It reads the weights where they lie at each call, so it sees those that were patched since.
    """

    def __init__(self, network: nn.Module, how: Compiling) -> None:
        self._graphs = how == "graphs"
        # Sizes are compiled one by one: for any size at once, torch 2.13 fails at the way up.
        self._call: Any = torch.compile(network, dynamic=False, mode="reduce-overhead" if self._graphs else "default")

    def __call__(self, *inputs: Any) -> Tensor:
        """What the network makes of the inputs. Raises `CompilingError` where torch cannot compile it."""
        from torch._inductor.exc import InductorError  # only compiling imports it, which takes a second

        if self._graphs:
            torch.compiler.cudagraph_mark_step_begin()
        try:
            out: Tensor = self._call(*inputs)
        except InductorError as error:
            reason = str(error).strip().splitlines()[0]
            raise CompilingError(
                f"torch cannot compile this model here: {reason} (a CPU needs a C++ compiler,"
                " a GPU Triton and a C compiler); or go without --compile and --cuda-graphs"
            ) from error
        return out.clone() if self._graphs else out  # the next call writes over a graph's output
