"""Which rank and alpha each layer gets, by block, by name, and apart for convolutions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from graphexec.diffusion.models.unet import UNet
from graphexec.diffusion.types import Family
from graphexec.train.config import Network
from graphexec.train.faults import TrainingError
from graphexec.train.network.blocks import block_places
from graphexec.train.network.targets import Target

__all__ = ["Ranked", "Ranks", "beyond_layers", "has_convolutions"]


def has_convolutions(config: Network) -> bool:
    """Whether layers outside the transformers get adapters too."""
    return config.conv_rank is not None or config.conv_block_ranks is not None


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """A layer with the rank and alpha of its adapter."""

    target: Target
    rank: int
    alpha: float

    @property
    def most(self) -> int:
        """The largest rank that a change of the layer's weight can have."""
        out, *columns = self.target.layer.weight.shape
        return min(out, math.prod(columns))


def beyond_layers(ranked: Sequence[Ranked]) -> str | None:
    """A warning where most layers are smaller than their adapters' ranks; a few small ones there are in every model."""
    beyond = [each for each in ranked if each.rank > each.most]
    if 2 * len(beyond) <= len(ranked):
        return None
    return (
        f"a rank of {max(each.rank for each in beyond)} is more than {len(beyond)} of {len(ranked)} layers can have,"
        f" which allow {max(each.most for each in beyond)} at most: what goes beyond takes memory and adds nothing;"
        " choose a smaller rank"
    )


@dataclass(frozen=True, slots=True)
class ByBlock:
    """A value for the whole UNet, or one for each block."""

    whole: float | None
    values: Sequence[float] | None = None
    index: Callable[[str], int] | None = None

    @classmethod
    def of(cls, unet: UNet, family: Family, whole: float | None, values: Sequence[float] | None, name: str) -> ByBlock:
        """Check that there is a value for each block."""
        return cls(whole, values, None if values is None else block_places(unet, family, values, name))

    def at(self, place: str) -> float:
        """The value for a layer; 0 if there is none."""
        if self.values is not None and self.index is not None:
            return self.values[self.index(place)]
        return self.whole or 0


class Ranks:
    """What a configuration says of ranks, for one UNet. Raises `TrainingError` for what does not fit it."""

    def __init__(self, config: Network, unet: UNet, family: Family) -> None:
        def by_block(whole: float | None, values: Sequence[float] | None, name: str) -> ByBlock:
            return ByBlock.of(unet, family, whole, values, name)

        conv_alpha = 1.0 if config.conv_alpha is None else config.conv_alpha
        self._config = config
        self._ranks = by_block(config.rank, config.block_ranks, "block_ranks")
        self._alphas = by_block(config.alpha, config.block_alphas, "block_alphas")
        self._conv_ranks = by_block(config.conv_rank, config.conv_block_ranks, "conv_block_ranks")
        self._conv_alphas = by_block(conv_alpha, config.conv_block_alphas, "conv_block_alphas")
        self._by_name = [(_pattern(text), rank) for text, rank in config.ranks_by_name]

    def of(self, targets: Iterator[Target]) -> Iterator[Ranked]:
        """The layers that get an adapter."""
        for target in targets:
            ranked = Ranked(target, *self._values(target))
            if ranked.rank < 0 or ranked.alpha < 0:
                raise TrainingError(
                    f"{target.name}: rank {ranked.rank}, alpha {ranked.alpha:g}; neither is below 0, and 0 as the rank"
                    " leaves a layer out"
                )
            if ranked.rank:
                yield ranked

    def _values(self, target: Target) -> tuple[int, float]:
        named = next((rank for pattern, rank in self._by_name if pattern.search(target.name)), None)
        rank, alpha = self._by_kind(target)
        return (int(rank) if named is None else named), alpha

    def _by_kind(self, target: Target) -> tuple[float, float]:
        if target.encoder is not None:
            return self._config.rank, self._config.alpha
        small = target.is_small
        ranks, alphas = (self._ranks, self._alphas) if small else (self._conv_ranks, self._conv_alphas)
        return ranks.at(target.place), alphas.at(target.place)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise TrainingError(f"{text!r} is no regular expression for names of modules: {error}") from error
