"""The loop of a training run: it lowers a loss over batches, and knows nothing of what is trained."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from graphexec.diffusion.types import Precision
from graphexec.errors import Cancelled
from graphexec.train.config import Optimiser, Schedule
from graphexec.train.ema import Ema, put
from graphexec.train.events import Started, Stepped
from graphexec.train.faults import NonFiniteLoss, TrainingError
from graphexec.train.groups import ParameterGroup
from graphexec.train.meter import Meter
from graphexec.train.optimisers import make_optimiser
from graphexec.train.schedules import Course, course
from graphexec.train.seeds import seed_of
from graphexec.train.state import Facts, read_state, refuse_difference, write_state

__all__ = ["Batches", "Loop", "Moment", "Named", "Plan"]

LOWER: Mapping[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
BLOCK = 16
"""Steps on a GPU whose losses are read together."""


class Named(Protocol):
    """A batch, which knows what it is made of."""

    @property
    def names(self) -> Sequence[str]:
        """Names of its pictures, for messages."""
        ...


BatchT = TypeVar("BatchT", bound=Named)
BatchT_co = TypeVar("BatchT_co", bound=Named, covariant=True)


class Batches(Protocol[BatchT_co]):
    """Batches by epoch (from 0), the same whenever they are asked for."""

    def epoch(self, epoch: int, first: int = 0) -> Iterator[BatchT_co]:
        """The batches of an epoch from the `first`-th on."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how a run goes: `steps` of the optimiser, each over `accumulation` batches.

    `autocast`: whether the objective computes in a lower precision by that; else its networks are in it already.
    """

    steps: int
    seed: int
    accumulation: int = 1
    precision: Precision = "fp32"
    autocast: bool = True
    ema_decay: float | None = None
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)


@dataclass(frozen=True, slots=True)
class Moment:
    """Between two steps, or at the end of an epoch: `step` are done, in the `epoch`-th epoch (from 1)."""

    step: int
    epoch: int
    ends_epoch: bool


@dataclass(slots=True)
class Position:
    """Steps done, and batches done of the epoch (from 0) that is under way."""

    step: int = 0
    epoch: int = 0
    batches: int = 0


class Loop(Generic[BatchT]):
    """Trains groups of parameters so that `objective(batch, generator)`, the loss of each picture [B], falls.

    Every number that is drawn comes from the generator, which is seeded anew for each batch by the plan's seed and the
    batch's place; so a run that is taken up from a state goes on as if it had never stopped. `constrain` is called
    after each step. `facts`: what a state must agree with besides the plan.
    """

    def __init__(
        self,
        groups: Sequence[ParameterGroup],
        objective: Callable[[BatchT, torch.Generator], Tensor],
        batches: Batches[BatchT],
        plan: Plan,
        *,
        watch: Callable[[Started | Stepped], object] = lambda event: None,
        device: torch.device | str = "cpu",
        constrain: Callable[[], object] = lambda: None,
        facts: Facts | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.plan = plan
        self.stepper = make_optimiser(groups, plan.optimiser)
        self._parameters = [parameter for group in groups for parameter in group.parameters]
        self._ema = None if plan.ema_decay is None else Ema(self._parameters, plan.ema_decay)
        self._objective, self._batches, self._watch, self._constrain = objective, batches, watch, constrain
        self._course = course(plan.schedule, plan.steps, plan.optimiser.learning_rate)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=plan.precision == "fp16")
        self._generator = torch.Generator(self.device)
        self._position = Position()
        self._meter = Meter(plan.steps, 1 if self.device.type == "cpu" else BLOCK)
        self._whole = True
        self._facts = {**_described(plan, self._course, groups), **(facts or {})}

    @property
    def step(self) -> int:
        """Steps done."""
        return self._position.step

    @property
    def is_whole(self) -> bool:
        """Whether all that is trained is as it was after the last step, and not in the middle of another."""
        return self._whole

    @property
    def epoch(self) -> int:
        """The epoch (from 1) of the last step; 0 before the first."""
        return self._position.epoch + (self._position.batches > 0)

    @property
    def loss(self) -> float:
        """The loss of the last step that was read; NaN before the first."""
        return self._meter.last

    def run(self, cancelled: Callable[[], bool] = lambda: False) -> Generator[Moment]:
        """Train; between steps the caller has the turn, to save, sample or validate.

        Raises `NonFiniteLoss` naming the pictures, `Cancelled` between two steps (the state may be saved then), or
        `TrainingError` where there are no batches.
        """
        self._watch(Started(self.plan.steps, self.step))
        self._meter = Meter(self.plan.steps, self._meter.block, self.step, self._meter.last)
        while self.step < self.plan.steps:
            yield from self._rest(cancelled)
        self.settle()

    def settle(self) -> None:
        """Wait for the device and tell of all steps done. Raises `NonFiniteLoss`."""
        for stepped in self._meter.read():
            self._watch(stepped)
        if not torch.stack([parameter.detach().isfinite().all() for parameter in self._parameters]).all():
            raise NonFiniteLoss(
                f"after step {self.step} what is trained holds NaN or infinity, though the loss did not. What was saved"
                " before is kept. Most often the learning rate is too high"
            )

    @contextmanager
    def averaged(self) -> Generator[None]:
        """What is trained as it should be used and saved: the moving average, if there is one."""
        self.settle()
        with self.stepper.averaged(), nullcontext() if self._ema is None else self._ema.applied():
            yield

    def save(self, path: Path) -> None:
        """Write all that `resume` needs. Raises `NonFiniteLoss` rather than save what is lost."""
        self.settle()
        write_state(path, self._values(), self._facts)

    def resume(self, path: Path) -> None:
        """Go on from a saved state. Raises `StateError` if it belongs to another configuration."""
        saved = read_state(path)
        refuse_difference(saved.facts, self._facts, path)
        values = saved.values
        put(values["parameters"], self._parameters)
        self.stepper.optimiser.load_state_dict(values["optimiser"])
        self._scaler.load_state_dict(values["scaler"])
        if self._ema is not None:
            self._ema.load(values["ema"])
        self._position = Position(**values["position"])
        self._meter.last = values["loss"]

    def _rest(self, cancelled: Callable[[], bool]) -> Generator[Moment]:
        """The rest of the epoch that is under way."""
        now = self._position
        epoch, done = now.epoch + 1, now.batches
        for chunk in _chunks(self._batches.epoch(now.epoch, done), self.plan.accumulation):
            if cancelled():
                self.settle()
                raise Cancelled(f"stopped after step {now.step} of {self.plan.steps}")
            self._do(chunk)
            yield Moment(now.step, epoch, ends_epoch=False)
            if now.step == self.plan.steps:
                return
        if not now.batches:
            raise TrainingError("there are no pictures to train on")
        now.epoch, now.batches = epoch, 0
        yield Moment(now.step, epoch, ends_epoch=True)

    def _do(self, chunk: Sequence[BatchT]) -> None:
        """One step of the optimiser over some batches."""
        now = self._position
        rates = self.stepper.schedule(self._course.factor(now.step))
        losses = [self._backward(batch, now.batches + i, len(chunk)) for i, batch in enumerate(chunk)]
        self._whole = False
        norm = self._update()
        self._whole = True
        now.step, now.batches = now.step + 1, now.batches + len(chunk)
        names = [tuple(batch.names) for batch in chunk]
        for stepped in self._meter.add(now.step, now.epoch + 1, rates, losses, names, norm):
            self._watch(stepped)

    def _backward(self, batch: BatchT, place: int, parts: int) -> Tensor:
        """Add a batch's gradients, as one of some parts; its loss, on the device."""
        self._generator.manual_seed(seed_of(self.plan.seed, "noise", self._position.epoch, place))
        lower = LOWER.get(self.plan.precision) if self.plan.autocast else None
        with torch.autocast(self.device.type, lower) if lower else nullcontext():
            loss = self._objective(batch, self._generator).mean()
        if loss.requires_grad:  # else dropout left out every module
            self._scaler.scale(loss / parts).backward()
        return loss.detach()

    def _update(self) -> Tensor | None:
        """Take the step, if anything has a gradient; the norm of these.

        None without any, and under a scaler, which leaves out a step where it is none.
        """
        if all(parameter.grad is None for parameter in self._parameters):
            return None
        optimiser, limit = self.stepper.optimiser, self.plan.optimiser.max_grad_norm
        self._scaler.unscale_(optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, limit or math.inf)
        self._scaler.step(optimiser)
        self._scaler.update()
        optimiser.zero_grad(set_to_none=True)
        self._constrain()
        if self._ema is not None:
            self._ema.update(self._position.step)
        return None if self._scaler.is_enabled() else norm

    def _values(self) -> dict[str, Any]:
        return {
            "parameters": [parameter.detach() for parameter in self._parameters],
            "optimiser": self.stepper.optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "ema": None if self._ema is None else self._ema.averages,
            "position": asdict(self._position),
            "loss": self._meter.last,
        }


def _described(plan: Plan, course: Course, groups: Sequence[ParameterGroup]) -> dict[str, Any]:
    """What of a plan makes a difference on the way; how many steps there are in all need not."""
    facts = asdict(replace(plan, optimiser=replace(plan.optimiser, arguments=dict(plan.optimiser.arguments))))
    if not course.progress_matters:
        facts["steps"] = None
    facts["trained"] = {
        group.name: {"lr": group.lr, "shapes": [list(parameter.shape) for parameter in group.parameters]}
        for group in groups
    }
    return facts


def _chunks(batches: Iterator[BatchT], size: int) -> Iterator[list[BatchT]]:
    while chunk := list(itertools.islice(batches, size)):
        yield chunk
