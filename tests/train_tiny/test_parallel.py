"""A batch in parts has the losses and gradients of the whole."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from parallel import InParts, whole


def test_the_gradients_are_those_of_the_whole_batch() -> None:
    torch.manual_seed(0)
    network, unused = nn.Linear(3, 1), nn.Parameter(torch.ones(2))
    parameters = [*network.parameters(), unused]
    given, wanted = torch.randn(7, 3), torch.randn(7)

    def losses(given: Tensor, wanted: Tensor) -> Tensor:
        return (network(given)[:, 0] - wanted).square()

    one = whole(losses, given, wanted)
    parts = InParts(parameters, 3)(losses, given, wanted)
    assert torch.allclose(parts.sort().values, one.sort().values)
    plain = torch.autograd.grad(2 * one.mean(), parameters, allow_unused=True)
    divided = torch.autograd.grad(2 * parts.mean(), parameters, allow_unused=True)
    assert divided[-1] is None and plain[-1] is None
    assert all(torch.allclose(a, b) for a, b in zip(divided[:-1], plain[:-1], strict=True))
