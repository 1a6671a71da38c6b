"""Learning rates: apart for the UNet, its blocks and each text encoder, and for the up factors (LoRA+).

LoRA+: Hayou et al. 2024, https://arxiv.org/abs/2402.12354.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.types import Family
from graphexec.train.config import Optimiser
from graphexec.train.faults import TrainingError
from graphexec.train.groups import ParameterGroup
from graphexec.train.network.base import TrainedAdapter
from graphexec.train.network.blocks import block_places
from graphexec.train.network.targets import Target

__all__ = ["Placed", "parameter_groups"]


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """An adapter and its layer."""

    target: Target
    adapter: TrainedAdapter


@dataclass(frozen=True, slots=True)
class Shared:
    """What is trained alike: a name for the logs, the learning rate, and LoRA+'s factor."""

    name: str
    lr: float
    plus: float | None


def parameter_groups(
    placed: Sequence[Placed], optimiser: Optimiser, unet: UNet, family: Family
) -> list[ParameterGroup]:
    """The parameters by what they are trained with; those whose learning rate is 0 are frozen and in no group.

    Raises `TrainingError` if there are learning rates for text encoders or blocks that the model does not have.
    """
    shared = _sharing(placed, optimiser, unet, family)
    parameters: dict[Shared, list[Placed]] = {}
    for each in placed:
        parameters.setdefault(shared(each.target), []).append(each)
    groups = [group for key, found in parameters.items() for group in _split(key, found)]
    for group in groups:
        for parameter in group.parameters:
            parameter.requires_grad_(group.lr != 0)
    kept = [group for group in groups if group.lr]
    if not kept:
        raise TrainingError("every learning rate is 0: nothing would be trained")
    return kept


def _sharing(placed: Sequence[Placed], optimiser: Optimiser, unet: UNet, family: Family) -> Callable[[Target], Shared]:
    """What each layer is trained with."""
    encoders = sorted({each.target.encoder for each in placed if each.target.encoder is not None})
    texts = _text_rates(optimiser, encoders)
    unet_lr = optimiser.learning_rate if optimiser.unet_lr is None else optimiser.unet_lr
    blocks = optimiser.block_lr
    index = block_places(unet, family, blocks, "block_lr") if blocks else None

    def shared(target: Target) -> Shared:
        if target.encoder is not None:
            return Shared(texts[target.encoder][0], texts[target.encoder][1], optimiser.loraplus_text)
        if index is None:
            return Shared("unet", unet_lr, optimiser.loraplus_unet)
        block = index(target.place)
        return Shared(f"unet block {block}", unet_lr * blocks[block], optimiser.loraplus_unet)

    return shared


def _text_rates(optimiser: Optimiser, encoders: Sequence[int]) -> dict[int, tuple[str, float]]:
    """The name and learning rate of each text encoder."""
    rates = optimiser.text_lrs or (optimiser.learning_rate,)
    if len(rates) > 1 and len(rates) != len(encoders) and encoders:
        raise TrainingError(
            f"there are {len(rates)} learning rates for text encoders, and {len(encoders)} that are trained:"
            " give one for all of them, or one for each"
        )
    names = ["text encoder"] if encoders == [0] else [f"text encoder {number + 1}" for number in encoders]
    rates = rates * len(encoders) if len(rates) == 1 else rates
    return {number: (name, lr) for number, name, lr in zip(encoders, names, rates, strict=False)}


def _split(shared: Shared, placed: Sequence[Placed]) -> Iterator[ParameterGroup]:
    """The parameters of some adapters: all in one, or the up factors apart."""
    rest: list[nn.Parameter] = []
    ups: list[nn.Parameter] = []
    for each in placed:
        for name, parameter in each.adapter.named_parameters():
            (ups if shared.plus is not None and each.adapter.is_up(name) else rest).append(parameter)
    yield ParameterGroup(shared.name, rest, shared.lr)
    if ups and shared.plus is not None:
        yield ParameterGroup(f"{shared.name} plus", ups, shared.lr * shared.plus)
