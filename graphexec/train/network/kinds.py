"""The kinds of adapters by the names that configurations have for them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from graphexec.train.config import Network, NetworkKind
from graphexec.train.network.base import TrainedAdapter
from graphexec.train.network.dropout import Dropout, seeded
from graphexec.train.network.lora import TrainedLora
from graphexec.train.network.ranks import Ranked

__all__ = ["make_adapter"]

KINDS: Mapping[NetworkKind, type[TrainedAdapter]] = {"lora": TrainedLora}


def make_adapter(config: Network, ranked: Ranked, dropout: Dropout) -> TrainedAdapter:
    """An adapter for a layer, on its device, with first values drawn from the seed and the layer's name."""
    layer = ranked.target.layer
    adapter = KINDS[config.kind](layer, ranked.rank, ranked.alpha, dropout)
    adapter.start(torch.Generator().manual_seed(seeded(dropout.moment.seed, ranked.target.name, "start")))
    return adapter.to(layer.weight.device)
