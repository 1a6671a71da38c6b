"""Optimisers by the names that sd-scripts knows them by, from torch and the libraries that have them."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from graphexec.diffusion.faults import MissingLibrary
from graphexec.train.config import Optimiser
from graphexec.train.ema import restored
from graphexec.train.faults import TrainingError
from graphexec.train.groups import ParameterGroup

__all__ = ["OPTIMISERS", "Stepper", "check_arguments", "make_optimiser"]


@dataclass(frozen=True, slots=True)
class Kind:
    """Where an optimiser is found, the extra that brings it, and what it is told unless something else is said."""

    module: str
    name: str
    extra: str = "train"
    defaults: Mapping[str, object] = field(default_factory=dict[str, object])
    own_course: bool = False
    """Whether it needs no schedule: it averages what it finds on the way."""
    one_rate: bool = False
    """Whether it finds a learning rate for everything together."""

    def load(self) -> Callable[..., torch.optim.Optimizer]:
        """The class; `MissingLibrary` if its library is not installed."""
        try:
            return getattr(importlib.import_module(self.module), self.name)
        except ImportError as error:
            raise MissingLibrary(
                f"the optimiser {self.name} needs {self.module.partition('.')[0]}, which is not installed (or does not"
                f" work here: {error}): pip install 'graphexec[{self.extra}]'"
            ) from error


def _torch(name: str, **defaults: object) -> Kind:
    return Kind("torch.optim", name, defaults={"fused": True, **defaults})


def _eight_bits(name: str) -> Kind:
    return Kind("bitsandbytes.optim", name, "train-8bit")


def _schedule_free(name: str) -> Kind:
    return Kind("schedulefree", name, own_course=True)


OPTIMISERS: Mapping[str, Kind] = {
    "AdamW": _torch("AdamW"),
    "Adam": _torch("Adam"),
    "RMSprop": Kind("torch.optim", "RMSprop"),
    "AdamW8bit": _eight_bits("AdamW8bit"),
    "PagedAdamW8bit": _eight_bits("PagedAdamW8bit"),
    "Lion": Kind("lion_pytorch", "Lion"),
    "Lion8bit": _eight_bits("Lion8bit"),
    "PagedLion8bit": _eight_bits("PagedLion8bit"),
    "Adafactor": Kind("transformers.optimization", "Adafactor"),
    "Prodigy": Kind("prodigyopt", "Prodigy", one_rate=True),
    "AdamWScheduleFree": _schedule_free("AdamWScheduleFree"),
    "RAdamScheduleFree": _schedule_free("RAdamScheduleFree"),
    "SGDScheduleFree": _schedule_free("SGDScheduleFree"),
    "Muon": Kind("graphexec.train.muon", "Muon"),
    "SGD": _torch("SGD"),
    "SGDNesterov": _torch("SGD", momentum=0.9, nesterov=True),
}


class Stepper:
    """An optimiser with the learning rates that its groups start from, None where it finds them itself."""

    def __init__(self, optimiser: torch.optim.Optimizer, names: Sequence[str], *, own_course: bool) -> None:
        self.optimiser = optimiser
        self.names = tuple(names)
        self.own_course = own_course
        self.rates: tuple[float | None, ...] = tuple(group["lr"] for group in optimiser.param_groups)
        self._mode("train")

    @property
    def scheduled(self) -> bool:
        """Whether its learning rates follow a schedule."""
        return not self.own_course and None not in self.rates

    def schedule(self, factor: float) -> dict[str, float]:
        """Set the learning rates of the next step; what they are, by the groups' names."""
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            if rate is not None and not self.own_course:
                group["lr"] = rate * factor
        return dict(zip(self.names, map(_rate_of, self.optimiser.param_groups), strict=True))

    @contextmanager
    def averaged(self) -> Generator[None]:
        """The weights as they should be used and saved, for the length of the block."""
        if not self.own_course:
            yield
            return
        parameters = [each for group in self.optimiser.param_groups for each in group["params"]]
        with restored(parameters):  # the way back rounds, and a run would depend on how often it is saved and measured
            self._mode("eval")
            try:
                yield
            finally:
                self._mode("train")

    def _mode(self, name: str) -> None:
        """Schedule-free optimisers train other weights than those that are used."""
        if self.own_course:
            getattr(self.optimiser, name)()


def check_arguments(config: Optimiser) -> None:
    """Raise `TrainingError` for an optimiser that is not known or that does not take an argument by that name.

    Raises `MissingLibrary` (naming the extra) if its library is not installed.
    """
    _refuse_strange(_find(config.kind).load(), config.arguments, config.kind)


def make_optimiser(groups: Sequence[ParameterGroup], config: Optimiser) -> Stepper:
    """The optimiser of a configuration for these groups.

    Raises `TrainingError` for one that is not known or arguments that it does not take, `MissingLibrary` (naming the
    extra) if its library is not installed.
    """
    kind = _find(config.kind)
    arguments = {**kind.defaults, **config.arguments}
    groups = [group for group in groups if group.parameters]
    if not groups:
        raise TrainingError("there is nothing to train: every part of the network is switched off")
    rates = [group.lr for group in groups]
    if kind.one_rate and len(set(rates)) > 1:
        raise TrainingError(
            f"{config.kind} finds one learning rate for everything, but {_listed(groups)} were given; give one for all"
        )
    if config.is_relative:
        rates, arguments = [None] * len(groups), {**arguments, "relative_step": True, "lr": None}
    parameters = [{"params": list(group.parameters), "lr": rate} for group, rate in zip(groups, rates, strict=True)]
    optimiser = _build(kind.load(), parameters, {"lr": rates[0], **arguments}, config.kind)
    return Stepper(optimiser, [group.name for group in groups], own_course=kind.own_course)


def _find(name: str) -> Kind:
    by_name = {known.lower(): known for known in OPTIMISERS}
    if name.lower() in by_name:
        return OPTIMISERS[by_name[name.lower()]]
    near = difflib.get_close_matches(name.lower(), by_name, n=1)
    hint = f"; did you mean {by_name[near[0]]}?" if near else ""
    raise TrainingError(f"there is no optimiser {name!r}{hint} (known: {', '.join(OPTIMISERS)})")


def _build(
    make: Callable[..., torch.optim.Optimizer], parameters: object, arguments: Mapping[str, object], name: str
) -> torch.optim.Optimizer:
    _refuse_strange(make, arguments, name)
    try:
        return make(parameters, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        listed = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise TrainingError(f"{name} cannot be made with the arguments {listed}: {error}") from error


def _refuse_strange(make: Callable[..., torch.optim.Optimizer], arguments: Mapping[str, object], name: str) -> None:
    taken = inspect.signature(make).parameters
    strange = [argument for argument in arguments if argument not in taken]
    if strange:
        known = ", ".join(other for other in taken if other not in ("params", "lr"))
        raise TrainingError(f"{name} takes no argument {strange[0]!r} (it takes {known})")


def _listed(groups: Sequence[ParameterGroup]) -> str:
    return ", ".join(f"{group.lr:g} ({group.name})" for group in groups)


def _rate_of(group: Mapping[str, Any]) -> float:
    """The learning rate as it is used; Prodigy multiplies it by its own estimate."""
    return float(group["lr"] or 0.0) * float(group.get("d", 1.0))
