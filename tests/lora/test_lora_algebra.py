"""What holds of adapters whatever their widths and ranks: those that add something can be taken back, in any order."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lora.headers import header_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from graphexec.lora import LoraModule, list_modules
from graphexec.lora.adapters.base import Part
from graphexec.lora.adapters.oft import PeftOft
from graphexec.lora.header import Shape

NAME = "lora_unet_m"


class Largest(TorchDispatchMode):
    """Keeps the bytes of the largest tensor that is made."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **kwargs or {})
        if isinstance(made, Tensor):
            self.bytes = max(self.bytes, made.untyped_storage().nbytes())
        return made


strengths = st.floats(-2, 2, width=16)


@dataclass(frozen=True)
class Added:
    """A weight, and a LoRA module that adds something to it."""

    weight: Tensor
    module: LoraModule
    tensors: Mapping[str, Tensor]

    def after(self, weight: Tensor, strength: float) -> Tensor:
        return self.module.adapter.change(weight.clone(), strength, self.tensors.__getitem__)


def lora(out: int, columns: int, kernel: Shape, rank: int) -> dict[str, Shape]:
    return {"lora_up.weight": (out, rank, *(1 for _ in kernel)), "lora_down.weight": (rank, columns, *kernel)}


def cored(out: int, columns: int, kernel: Shape, rank: int) -> dict[str, Shape]:
    ones = tuple(1 for _ in kernel)
    ends = {"lora_up.weight": (out, rank, *ones), "lora_down.weight": (rank, columns, *ones)}
    return {**ends, "lora_mid.weight": (rank, rank, *kernel)} if kernel else ends


def loha(out: int, columns: int, kernel: Shape, rank: int) -> dict[str, Shape]:
    flat = columns * math.prod(kernel)
    return {f"hada_w{i}_{side}": (out, rank) if side == "a" else (rank, flat) for i in "12" for side in "ab"}


def lokr(out: int, columns: int, kernel: Shape, rank: int) -> dict[str, Shape]:
    flat = columns * math.prod(kernel)
    return {"lokr_w1": (2, 3), "lokr_w2_a": (out // 2, rank), "lokr_w2_b": (rank, flat // 3)}


def diff(out: int, columns: int, kernel: Shape, rank: int) -> dict[str, Shape]:
    return {"diff": (out, columns, *kernel)}


KINDS: tuple[Callable[[int, int, Shape, int], dict[str, Shape]], ...] = (lora, cored, loha, lokr, diff)


@st.composite
def additions(draw: st.DrawFn) -> Added:
    """Any kind that adds, on a linear layer or a convolution of any width."""
    out, columns, rank = 2 * draw(st.integers(1, 5)), 3 * draw(st.integers(1, 4)), draw(st.integers(1, 4))
    kernel: Shape = draw(st.sampled_from(((), (1, 1), (3, 3), (1, 3))))
    shapes = draw(st.sampled_from(KINDS))(out, columns, kernel, rank)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    tensors = {f"{NAME}.{part}": torch.randn(shape, generator=generator) for part, shape in shapes.items()}
    if draw(st.booleans()):
        tensors[f"{NAME}.alpha"] = torch.tensor(float(draw(st.integers(1, 8))))
    file = list_modules(header_of({name: tuple(tensor.shape) for name, tensor in tensors.items()}))
    (module,) = file.modules
    weight = torch.randn((out, columns, *kernel), generator=generator)
    assert module.adapter.fits(tuple(weight.shape))
    return Added(weight, module, tensors)


@given(additions(), strengths)
def test_what_is_added_can_be_taken_back(added: Added, strength: float) -> None:
    there = added.after(added.weight, strength)
    torch.testing.assert_close(added.after(there, -strength), added.weight, rtol=1e-4, atol=1e-4)


@given(additions(), strengths, strengths)
def test_strengths_add_up(added: Added, one: float, two: float) -> None:
    both = added.after(added.after(added.weight, one), two)
    torch.testing.assert_close(both, added.after(added.weight, one + two), rtol=1e-4, atol=1e-4)


@given(additions())
def test_strength_0_is_the_weight_itself(added: Added) -> None:
    assert torch.equal(added.after(added.weight, 0.0), added.weight)


@pytest.mark.parametrize("blocks", [4, 1])
def test_rotating_columns_takes_no_more_memory_than_the_weight(blocks: int) -> None:
    weight, triangles = torch.randn(32, 64), torch.randn(blocks, 120) * 0.05
    adapter = PeftOft({"oft_R": Part("r", (blocks, 120))}, {})
    with Largest() as largest:
        adapter.change(weight, 1.0, {"r": triangles}.__getitem__)
    assert largest.bytes <= weight.nbytes
