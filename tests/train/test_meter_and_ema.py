# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import pytest
import torch

from graphexec.train.ema import Ema, decay_at
from graphexec.train.events import Stepped
from graphexec.train.faults import NonFiniteLoss
from graphexec.train.meter import Meter


def test_losses_are_read_a_block_at_a_time() -> None:
    meter = Meter(10, 3, first=4)
    told: list[list[Stepped]] = [
        meter.add(step, 2, {"unet": 0.1}, [torch.tensor(float(step)), torch.tensor(0.0)], [("a",), ("b",)])
        for step in range(5, 10)
    ]
    assert [len(each) for each in told] == [0, 0, 3, 0, 0]
    assert [(one.step, one.loss, one.epoch, one.lr) for one in told[2]] == [
        (step, step / 2, 2, {"unet": 0.1}) for step in (5, 6, 7)
    ]
    assert [one.step for one in meter.read()] == [8, 9]
    assert meter.read() == []
    assert meter.last == 4.5


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_first_bad_batch_is_named(bad: float) -> None:
    meter = Meter(10, 5)
    for step in (1, 2, 3):
        losses = [torch.tensor(1.0), torch.tensor(bad if step == 2 else 1.0)]
        meter.add(step, 1, {}, losses, [(f"{step}a",), (f"{step}b", f"{step}c")])
    with pytest.raises(NonFiniteLoss, match=r"loss of step 2 is (nan|inf), with these pictures: 2b, 2c\."):
        meter.read()


def test_a_moving_average_follows_faster_at_first() -> None:
    assert [decay_at(step, 0.5) for step in (0, 1, 8, 99)] == [0.1, 2 / 11, 0.5, 0.5]
    weight = torch.zeros(2)
    ema = Ema([weight], 0.5)
    expected = 0.0
    for step in range(12):
        weight.fill_(step)
        ema.update(step)
        kept = min((1 + step) / (10 + step), 0.5)
        expected = kept * expected + (1 - kept) * step
    assert ema.averages[0].tolist() == pytest.approx([expected] * 2)
    with ema.applied():
        assert weight.tolist() == pytest.approx([expected] * 2)
    assert weight.tolist() == [11.0, 11.0]


def test_an_average_is_more_exact_than_what_it_is_of() -> None:
    weight = torch.zeros(1, dtype=torch.bfloat16)
    ema = Ema([weight], 0.999)
    assert ema.averages[0].dtype == torch.float32
    ema.load([torch.tensor([0.3])])
    assert ema.averages[0].item() == pytest.approx(0.3, rel=1e-6)
