# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Muon's steps are orthogonal, whatever the gradient's size and shape; small weights take AdamW's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphexec.train.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(2, 8, 72), (3, 16, 16), (1, 48, 12)])
def test_singular_values_come_near_to_one_and_directions_stay(shape: tuple[int, int, int]) -> None:
    given = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _sizes, right = torch.linalg.svd(given, full_matrices=False)
    inside = left.mT @ orthogonal(given) @ right.mT  # in the basis of the gradient's own directions
    assert torch.allclose(inside, torch.diag_embed(inside.diagonal(dim1=1, dim2=2)), atol=1e-3)
    sizes = torch.linalg.svdvals(orthogonal(1e-4 * given))
    assert sizes.max() < 1.25 and sizes.median() > 0.65


def test_the_iteration_is_that_of_the_whole_matrix() -> None:
    given = torch.randn(1, 6, 20, generator=torch.Generator().manual_seed(1)).double()
    whole = given[0] / given.norm()
    for _ in range(5):
        square = whole @ whole.T
        whole = 3.4445 * whole + (-4.7750 * square + 2.0315 * square @ square) @ whole
    assert torch.allclose(orthogonal(given)[0], whole, atol=1e-6)


def test_a_convolution_is_turned_as_a_matrix() -> None:
    gradient = torch.randn(8, 2, 3, 3, generator=torch.Generator().manual_seed(2))
    weight = nn.Parameter(torch.zeros(8, 2, 3, 3))
    weight.grad = gradient.clone()
    Muon([weight], 0.1, weight_decay=0.0).step()
    wanted = -0.1 * orthogonal(gradient.flatten(1)[None])[0]
    assert torch.allclose(weight.detach().flatten(1), wanted, atol=1e-6)


def test_vectors_and_tables_of_embeddings_are_adamws() -> None:
    weights = {"bias": nn.Parameter(torch.ones(4)), "table": nn.Parameter(torch.ones(256, 4))}
    theirs = [nn.Parameter(weight.detach().clone()) for weight in weights.values()]
    adamw = torch.optim.AdamW(theirs, lr=0.01, betas=(0.9, 0.99), weight_decay=0.0)
    muon = Muon(weights.values(), 0.1, weight_decay=0.0, tables=True)
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        for own, their in zip(weights.values(), theirs, strict=True):
            own.grad = torch.randn(own.shape, generator=generator)
            their.grad = own.grad.clone()
        adamw.step()
        muon.step()
    for own, their in zip(weights.values(), theirs, strict=True):
        assert torch.allclose(own, their, atol=1e-6)


def test_the_up_factor_of_a_lora_is_no_table() -> None:
    gradient = torch.randn(320, 4, generator=torch.Generator().manual_seed(4))
    up = nn.Parameter(torch.zeros(320, 4))
    up.grad = gradient.clone()
    Muon([up], 0.1, weight_decay=0.0).step()
    wanted = -0.1 * (320 / 4) ** 0.5 * orthogonal(gradient[None])[0]
    assert torch.allclose(up.detach(), wanted, atol=1e-6)
