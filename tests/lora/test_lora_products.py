# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from graphexec.lora.adapters.base import Part, Product, add_products
from graphexec.lora.adapters.diff import Diff
from graphexec.lora.adapters.lora import Lora

products = st.lists(st.tuples(st.integers(1, 4), st.floats(-2, 2)), max_size=5)


@given(products)
def test_joined_products_are_those_one_after_the_other(ranks: list[tuple[int, float]]) -> None:
    parts = [Product(torch.randn(6, rank), torch.randn(rank, 8), scale) for rank, scale in ranks]
    weight = torch.randn(6, 2, 2, 2)
    expected = weight.view(6, 8).double() + sum(each.scale * each.up.double() @ each.down.double() for each in parts)
    add_products(weight, parts)
    torch.testing.assert_close(weight.view(6, 8), expected.float())


def test_only_a_lora_without_more_is_a_product() -> None:
    weight, tensors = torch.randn(3, 4), {"u": torch.randn(3, 2), "d": torch.randn(2, 4)}
    lora = Lora({"up": Part("u", (3, 2)), "down": Part("d", (2, 4))}, {})
    product = lora.product(weight, 0.5, tensors.__getitem__)
    assert product.scale == 0.5
    assert torch.equal(product.up, tensors["u"])
    assert Diff({"diff": Part("x", (3, 4))}, {}).product(weight, 1.0, tensors.__getitem__) is None
