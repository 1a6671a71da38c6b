"""The small model's weights."""

from __future__ import annotations

import torch
from torch import nn

from checkpoint import weights_of


def test_weights_are_kept_as_they_were() -> None:
    """An average is in their place for a while only."""
    layer = nn.Linear(2, 2)
    before, kept = layer.weight.detach().clone(), weights_of(layer)
    with torch.no_grad():
        layer.weight += 1
    assert torch.equal(kept["weight"], before)
