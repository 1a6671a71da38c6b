"""The course of the learning rate, as a factor of where it starts. The names and formulas are those of transformers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from graphexec.train.config import Schedule, ScheduleKind

__all__ = ["Course", "course"]

END = 1e-7
"""The learning rate at which a polynomial schedule ends."""


@dataclass(frozen=True, slots=True)
class Course:
    """A schedule of a run: steps of warm-up, steps in all, and the learning rate that it starts from."""

    schedule: Schedule
    warmup: int
    total: int
    rate: float

    def factor(self, step: int) -> float:
        """What the learning rate of the step (from 0) is multiplied by."""
        kind = self.schedule.kind
        if kind == "constant":
            return 1.0
        if step < self.warmup:
            return step / max(1, self.warmup)
        return AFTER[kind](self, step)

    @property
    def progress_matters(self) -> bool:
        """Whether the number of steps in all makes a difference on the way."""
        steady = self.schedule.kind in ("constant", "constant_with_warmup", "inverse_sqrt")
        return not steady or 0 < self.schedule.warmup < 1

    def progress(self, step: int) -> float:
        """The part of the way after the warm-up that lies behind."""
        return (step - self.warmup) / max(1, self.total - self.warmup)


def course(schedule: Schedule, total: int, rate: float) -> Course:
    """A schedule over `total` optimiser steps. A warm-up below 1 is a part of all."""
    warmup = schedule.warmup * total if schedule.warmup < 1 else schedule.warmup
    return Course(schedule, int(warmup), total, rate)


def _constant(course: Course, step: int) -> float:
    return 1.0


def _linear(course: Course, step: int) -> float:
    return max(0.0, 1 - course.progress(step))


def _wave(course: Course, step: int) -> float:
    """As many half waves as there are cycles."""
    return 0.5 * (1 + math.cos(math.pi * course.schedule.cycles * course.progress(step)))


def _cosine(course: Course, step: int) -> float:
    return max(0.0, _wave(course, step))


def _restarts(course: Course, step: int) -> float:
    """As many half waves as there are cycles, each from the top."""
    if course.progress(step) >= 1:
        return 0.0
    within = course.schedule.cycles * course.progress(step) % 1.0
    return max(0.0, 0.5 * (1 + math.cos(math.pi * within)))


def _cosine_with_min(course: Course, step: int) -> float:
    lowest = course.schedule.min_lr_ratio
    return max(0.0, _wave(course, step) * (1 - lowest) + lowest)


def _polynomial(course: Course, step: int) -> float:
    """Ends at nothing where it does not start above END, as with a learning_rate of 0 beside unet_lr."""
    end = END / course.rate if course.rate > END else 0.0
    if course.progress(step) > 1:
        return end
    return (1 - end) * (1 - course.progress(step)) ** course.schedule.power + end


def _inverse_sqrt(course: Course, step: int) -> float:
    timescale = course.warmup or 10_000
    return 1 / math.sqrt((step + timescale - course.warmup) / timescale)


AFTER: Mapping[ScheduleKind, Callable[[Course, int], float]] = {
    "constant_with_warmup": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_restarts": _restarts,
    "cosine_with_min_lr": _cosine_with_min,
    "polynomial": _polynomial,
    "inverse_sqrt": _inverse_sqrt,
}
