# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_scheduler

from graphexec.train.config import Schedule, ScheduleKind
from graphexec.train.schedules import course

KINDS: tuple[ScheduleKind, ...] = get_args(ScheduleKind)
OPTIONS: dict[str, dict[str, Any]] = {
    "cosine": {"num_cycles": 3 / 2},
    "cosine_with_restarts": {"num_cycles": 3},
    "polynomial": {"power": 2.0},
    "cosine_with_min_lr": {"num_cycles": 3 / 2, "min_lr_rate": 0.1},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("warmup", [0, 5])
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_rates_are_those_of_transformers(kind: ScheduleKind, warmup: int) -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    steps = None if kind == "constant" else warmup
    theirs: Any = get_scheduler(kind, optimiser, steps, 40, scheduler_specific_kwargs=OPTIONS.get(kind))
    ours = course(Schedule(kind, warmup, cycles=3, power=2.0, min_lr_ratio=0.1), 40, 0.02)
    for step in range(42):
        assert 0.02 * ours.factor(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12, abs=1e-18), step
        theirs.step()


@given(st.sampled_from(KINDS), st.floats(0, 0.99), st.integers(1, 50), st.data())
def test_a_factor_is_never_above_one_or_below_nothing(
    kind: ScheduleKind, warmup: float, total: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, total))
    assert 0 <= course(Schedule(kind, warmup), total, 1e-4).factor(step) <= 1 + 1e-9


@pytest.mark.parametrize("rate", [0.0, 1e-8, 1e-7])
def test_a_polynomial_that_starts_at_its_end_goes_down_to_nothing(rate: float) -> None:
    ours = course(Schedule("polynomial"), 4, rate)
    assert [ours.factor(step) for step in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_a_warmup_below_one_is_a_part_of_all_steps() -> None:
    assert course(Schedule("linear", 0.1), 250, 1e-4).warmup == 25
    assert course(Schedule("linear", 7), 250, 1e-4).warmup == 7
    assert course(Schedule("constant_with_warmup", 0.5), 10, 1.0).factor(4) == 0.8


def test_whether_the_length_matters() -> None:
    matters: set[str] = {kind for kind in KINDS if course(Schedule(kind), 10, 1.0).progress_matters}
    assert matters == set(KINDS) - {"constant", "constant_with_warmup", "inverse_sqrt"}
    assert course(Schedule("constant_with_warmup", 0.1), 10, 1.0).progress_matters
