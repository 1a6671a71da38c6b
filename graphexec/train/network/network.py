"""The network that is trained: adapters on the layers of frozen models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.types import Family
from graphexec.train.config import Network, Optimiser
from graphexec.train.faults import TrainingError
from graphexec.train.groups import ParameterGroup
from graphexec.train.network.base import TrainedAdapter
from graphexec.train.network.dropout import Dropout, Moment, Rates
from graphexec.train.network.kinds import make_adapter
from graphexec.train.network.ranks import Ranked, Ranks, beyond_layers, has_convolutions
from graphexec.train.network.rates import Placed, parameter_groups
from graphexec.train.network.start import Start
from graphexec.train.network.targets import text_targets, unet_targets

__all__ = ["TrainedNetwork"]

EXACT = ("alpha", "dora_scale")
"""What stays float32 in a file: small, and multiplied with everything else."""


class TrainedNetwork(nn.Module):
    """Adapters by sd-scripts' names, hooked into the layers that they change; no weight of a layer is touched."""

    def __init__(self, placed: Sequence[Placed], unet: UNet, family: Family, moment: Moment) -> None:
        super().__init__()
        self._placed = tuple(placed)
        self._moment = moment
        self._groups: Callable[[Optimiser], list[ParameterGroup]] = lambda optimiser: parameter_groups(
            placed, optimiser, unet, family
        )
        self.adapters = nn.ModuleDict({each.target.name: each.adapter for each in placed})
        self._hooks = [_hook(each) for each in placed]

    @classmethod
    def attach(
        cls,
        config: Network,
        unet: UNet,
        encoders: Sequence[ClipText],
        family: Family,
        seed: int,
        warn: Callable[[str], object] = lambda message: None,
    ) -> TrainedNetwork:
        """Put new adapters on a UNet and text encoders: they change nothing yet, or what `weights` of the network do.

        Ranks without a use are warned of before memory is taken for them. Raises `TrainingError` if the configuration
        does not fit the models, or leaves nothing to train, and `ModelFileError` if the weights to go on from are no
        LoRA for these models.
        """
        start = None if config.weights is None else Start.open(config.weights, unet, encoders, family)
        rates = Rates(config.dropout, config.rank_dropout, config.module_dropout)
        moment = Moment(seed)
        ranked = list(_ranked(config, unet, encoders, family, start))
        if not ranked:
            raise TrainingError("nothing is left to train: the network's configuration leaves out every layer")
        if config.kind != "lokr" and (warning := beyond_layers(ranked)) is not None:
            warn(warning)
        adapters = (make_adapter(config, each, Dropout(rates, moment, each.target.name)) for each in ranked)
        placed = [Placed(each.target, adapter) for each, adapter in zip(ranked, adapters, strict=True)]
        for told in () if start is None else start.fill(placed):
            warn(told)
        return cls(placed, unet, family, moment)

    def detach(self) -> None:
        """Take the adapters off the models, which then are what they were before."""
        while self._hooks:
            self._hooks.pop().remove()

    @property
    def size(self) -> tuple[object, object]:
        """The rank and the alpha of all adapters as files say them: "Dynamic" where they differ."""
        adapters = [each.adapter for each in self._placed]
        return _shared({adapter.rank for adapter in adapters}), _shared({adapter.alpha for adapter in adapters})

    def begin(self, step: int) -> None:
        """Say which batch comes now, counted from 0: what dropout leaves out depends on it and on the seed."""
        self._moment.step = step

    def groups(self, optimiser: Optimiser) -> list[ParameterGroup]:
        """The parameters by learning rate; what has none (a rate of 0) is frozen.

        Raises `TrainingError` if there are rates for text encoders or blocks that the model does not have.
        """
        return self._groups(optimiser)

    def tensors(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """What a file of the network holds, in sd-scripts' names, on the CPU; alphas and magnitudes stay float32."""
        return {
            f"{name}.{part}": tensor.to("cpu", torch.float32 if part in EXACT else dtype, copy=True).contiguous()
            for name, adapter in self._named()
            for part, tensor in adapter.tensors().items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave; `TrainingError` if it is of another network."""
        mine = self.tensors()
        _check_same({name: tuple(tensor.shape) for name, tensor in mine.items()}, tensors)
        for name, adapter in self._named():
            adapter.load({part: tensors[f"{name}.{part}"] for part in adapter.tensors()})

    def _named(self) -> Iterator[tuple[str, TrainedAdapter]]:
        return ((each.target.name, each.adapter) for each in self._placed)

    @torch.no_grad()
    def scale_norms(self, limit: float) -> None:
        """Scale down each change whose Frobenius norm is above a limit, all its factors alike.

        As sd-scripts' `scale_weight_norms`: https://github.com/kohya-ss/sd-scripts/pull/545.
        """
        norms = torch.stack([each.adapter.norm() for each in self._placed])
        ratios = (limit / norms).clamp(max=1)
        for each, ratio in zip(self._placed, ratios, strict=True):
            each.adapter.scale_by(ratio)


def _ranked(
    config: Network, unet: UNet, encoders: Sequence[ClipText], family: Family, start: Start | None
) -> Iterator[Ranked]:
    """The layers to train, those of the text encoders first as in sd-scripts."""
    if config.dim_from_weights and start is None:
        raise TrainingError("dim_from_weights takes ranks from the weights to go on from, and none are given")
    ranks = start if start is not None and config.dim_from_weights else Ranks(config, unet, family)
    if config.train_text:
        yield from ranks.of(text_targets(encoders, family))
    if config.train_unet:
        every = config.dim_from_weights
        convolutions, ends = every or has_convolutions(config), every or config.ends
        yield from ranks.of(unet_targets(unet, family, convolutions=convolutions, ends=ends))


def _shared(values: Set[float]) -> object:
    return next(iter(values)) if len(values) == 1 else "Dynamic"


def _hook(placed: Placed) -> RemovableHandle:
    adapter = placed.adapter

    def change(layer: Any, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return adapter(layer, inputs[0], out)

    return placed.target.layer.register_forward_hook(change)


def _check_same(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != expected:
        other = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise TrainingError(
            f"these are not the weights of this network: {len(other)} tensors are missing, too many or of another"
            f" shape, the first being {other[0]}"
        )
