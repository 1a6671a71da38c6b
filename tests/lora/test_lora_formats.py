# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from graphexec.errors import ModelFileError
from graphexec.lora.formats import add_module, read_modules

UP, DOWN, MID, ALPHA = "m.lora_up.weight", "m.lora_down.weight", "m.lora_mid.weight", "m.alpha"


def added(weight: Tensor, tensors: dict[str, Tensor], strength: float = 1.0) -> Tensor:
    modules, strangers = read_modules({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    assert not strangers
    changed = weight.clone()
    add_module(changed, modules["m"], strength, tensors.__getitem__)
    return changed


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_linear() -> None:
    weight, up, down = random(6, 5), random(6, 2, seed=1), random(2, 5, seed=2)
    tensors = {UP: up, DOWN: down, ALPHA: torch.tensor(1.0)}
    torch.testing.assert_close(added(weight, tensors, 0.8), weight + 0.8 * (1 / 2) * up @ down)


def test_no_alpha_is_scale_one() -> None:
    weight, up, down = random(6, 5), random(6, 2, seed=1), random(2, 5, seed=2)
    torch.testing.assert_close(added(weight, {UP: up, DOWN: down}), weight + up @ down)


def test_half_precision_factors_are_multiplied_in_float32() -> None:
    up, down = random(6, 2, seed=1).half(), random(2, 5, seed=2).half()
    assert torch.equal(added(torch.zeros(6, 5), {UP: up, DOWN: down}), up.float() @ down.float())


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_is_two_convolutions_in_a_row(kernel: int) -> None:
    x, up, down = random(1, 5, 7, 7), random(6, 2, 1, 1, seed=1), random(2, 5, kernel, kernel, seed=2)
    weight = added(torch.zeros(6, 5, kernel, kernel), {UP: up, DOWN: down})
    torch.testing.assert_close(F.conv2d(x, weight), F.conv2d(F.conv2d(x, down), up), rtol=1e-4, atol=1e-5)


def test_a_core_is_three_convolutions_in_a_row() -> None:
    x, up, down = random(1, 5, 7, 7), random(6, 2, 1, 1, seed=1), random(2, 5, 1, 1, seed=2)
    mid = random(2, 2, 3, 3, seed=3)
    weight = added(torch.zeros(6, 5, 3, 3), {UP: up, DOWN: down, MID: mid})
    expected = F.conv2d(F.conv2d(F.conv2d(x, down), mid), up)
    torch.testing.assert_close(F.conv2d(x, weight), expected, rtol=1e-4, atol=1e-5)


def test_linear_factors_change_a_1x1_convolution_and_the_other_way_round() -> None:
    up, down = random(6, 2, seed=1), random(2, 5, seed=2)
    conv = added(torch.zeros(6, 5, 1, 1), {UP: up, DOWN: down})
    linear = added(torch.zeros(6, 5), {UP: up[:, :, None, None], DOWN: down[:, :, None, None]})
    torch.testing.assert_close(conv[:, :, 0, 0], linear)
    torch.testing.assert_close(linear, up @ down)


def test_halves_and_other_tensors_are_strangers() -> None:
    modules, strangers = read_modules({UP: (6, 2), "n.lora_down.weight": (2, 5), "emb.thing": (3,)})
    assert not modules
    assert set(strangers) == {UP, "n.lora_down.weight", "emb.thing"}


@pytest.mark.parametrize(
    "shapes",
    [
        {UP: (6, 2), DOWN: (3, 5)},
        {UP: (6,), DOWN: (2, 5)},
        {UP: (6, 2, 3, 3), DOWN: (2, 5, 1, 1)},
        {UP: (6, 2, 1, 1), DOWN: (2, 5, 1, 1), MID: (3, 2, 3, 3)},
        {UP: (6, 2, 1, 1), DOWN: (2, 5, 3, 3), MID: (2, 2, 3, 3)},
    ],
)
def test_factors_that_do_not_fit_are_refused(shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ModelFileError, match=r"'m'.*do not fit"):
        read_modules(shapes)
