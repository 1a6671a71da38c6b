"""Steps left out while little changes (EasyCache, Zhou et al. 2025, https://arxiv.org/abs/2507.02860)."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from torch import Tensor

from graphexec.diffusion.options import EasyCache, LazyCache
from graphexec.diffusion.sampling.effects.base import Effect, Pass, Predict, Setting

__all__ = ["EasyReuse", "LazyReuse"]

STRIDE = 8
"""Change is measured on every so many-th row and column."""


@dataclass(slots=True)
class _Change:
    """Foretells how much an output changes from how much its input did, and adds it up until it counts."""

    threshold: float
    x: Tensor | None = None
    output: Tensor | None = None
    size: float = 0.0
    rate: float | None = None
    total: float = 0.0
    moved: float | None = None

    def small(self, x: Tensor) -> bool:
        """Whether the output for x may be taken from the last one."""
        self.moved = None if self.x is None else _distance(x, self.x)
        if self.rate is None or self.moved is None:
            return False
        self.total += self.rate * self.moved / self.size
        return self.total < self.threshold

    def learn(self, x: Tensor, output: Tensor) -> None:
        """Remember what was computed, and how fast outputs change."""
        if self.output is not None and self.moved:
            self.rate = _distance(output, self.output) / self.moved
        self.x, self.output, self.size = _sample(x), _sample(output), float(output.abs().mean())
        self.moved, self.total = None, 0.0


@dataclass(slots=True)
class EasyReuse(Effect):
    """Forward passes are left out; what one added to its input is added again.

    One cond leads: at each noise level, its first pass decides for all that follow. Later passes of other groups may
    hold it too, but see it otherwise (perturbed attention).
    """

    option: EasyCache
    setting: Setting
    _added: dict[tuple[Hashable, ...], Tensor] = field(default_factory=dict[tuple[Hashable, ...], Tensor])
    _leader: Hashable = None
    _leading: tuple[Hashable, ...] | None = None
    """The conds of the leader's pass at this noise level."""
    _sigma: float | None = None
    _skip: bool = False
    _change: _Change = field(init=False)

    def __post_init__(self) -> None:
        self._change = _Change(self.option.reuse_threshold)

    def network(self, x: Tensor, forward: Pass, predict: Predict) -> Tensor:
        """The output, or the last one's difference."""
        start, end = _range(self.option, self.setting)
        if forward.sigma <= end:
            return predict(x)
        self._begin(forward)
        added = self._added.get(forward.conds)
        if added is not None and added.shape != x.shape:
            self._forget()
            added = None
        if self._leading is None and self._leader in forward.conds:
            self._leading = forward.conds
        leads = self._leading == forward.conds
        if leads:
            self._skip = forward.sigma <= start and self._change.small(self._led(x, forward))
        if self._skip and added is not None:
            return x + added
        output = predict(x)
        self._added[forward.conds] = output - x
        if leads:
            self._change.learn(self._led(x, forward), self._led(output, forward))
        return output

    def _begin(self, forward: Pass) -> None:
        """At a new noise level nothing is left out yet; a leader that was missing at the last one is replaced."""
        if forward.sigma == self._sigma:
            return
        if self._leading is None:
            self._leader, self._change = forward.conds[0], _Change(self.option.reuse_threshold)
        self._sigma, self._leading, self._skip = forward.sigma, None, False

    def _forget(self) -> None:
        """Latents of another size have nothing in common with those before."""
        self._added.clear()
        self._change, self._skip = _Change(self.option.reuse_threshold), False

    def _led(self, x: Tensor, forward: Pass) -> Tensor:
        """The leader's part of a batch."""
        return x.chunk(len(forward.conds))[forward.conds.index(self._leader)]


@dataclass(slots=True)
class LazyReuse(Effect):
    """Whole steps are left out, guidance and all."""

    option: LazyCache
    setting: Setting
    _added: Tensor | None = None
    _change: _Change = field(init=False)

    def __post_init__(self) -> None:
        self._change = _Change(self.option.reuse_threshold)

    def denoise(self, x: Tensor, sigma: float, predict: Predict) -> Tensor:
        """The estimate, or the last one's difference."""
        start, end = _range(self.option, self.setting)
        if sigma <= end:
            return predict(x)
        if self._added is not None and self._added.shape != x.shape:
            self._added, self._change = None, _Change(self.option.reuse_threshold)
        if sigma <= start and self._change.small(x) and self._added is not None:
            return x + self._added
        output = predict(x)
        self._added = output - x
        self._change.learn(x, output)
        return output


def _range(option: EasyCache | LazyCache, setting: Setting) -> tuple[float, float]:
    return setting.levels.percent_to_sigma(option.start), setting.levels.percent_to_sigma(option.end)


def _sample(x: Tensor) -> Tensor:
    return x[..., ::STRIDE, ::STRIDE].clone()


def _distance(x: Tensor, sample: Tensor) -> float:
    return float((x[..., ::STRIDE, ::STRIDE] - sample).abs().mean())
