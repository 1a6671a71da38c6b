"""The kinds of adapters by the names that configurations have for them."""

from __future__ import annotations

import torch

from graphexec.train.config import Network
from graphexec.train.network.base import TrainedAdapter
from graphexec.train.network.dora import TrainedDora
from graphexec.train.network.dropout import Dropout
from graphexec.train.network.loha import TrainedLoha
from graphexec.train.network.lokr import TrainedLokr
from graphexec.train.network.lora import TrainedLora
from graphexec.train.network.ranks import Ranked
from graphexec.train.seeds import seed_of

__all__ = ["make_adapter"]


def make_adapter(config: Network, ranked: Ranked, dropout: Dropout) -> TrainedAdapter:
    """An adapter for a layer, on its device, with first values drawn from the seed and the layer's name."""
    layer = ranked.target.layer
    adapter = _of_kind(config, ranked, dropout)
    if config.decompose:
        adapter = TrainedDora(adapter, layer)
    adapter.start(torch.Generator().manual_seed(seed_of(dropout.moment.seed, ranked.target.name, "start")))
    return adapter.to(layer.weight.device)


def _of_kind(config: Network, ranked: Ranked, dropout: Dropout) -> TrainedAdapter:
    layer, rank, alpha = ranked.target.layer, ranked.rank, ranked.alpha
    match config.kind:
        case "lora":
            return TrainedLora(layer, rank, alpha, dropout)
        case "loha":
            return TrainedLoha(layer, rank, alpha, dropout)
        case "lokr":
            return TrainedLokr(layer, rank, alpha, dropout, config.lokr_factor)
