# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor
from train.toy import Lines, Points, Toy, of_steps

from graphexec.diffusion.types import Precision
from graphexec.errors import Cancelled
from graphexec.train.config import Optimiser, Schedule
from graphexec.train.events import Started
from graphexec.train.faults import NonFiniteLoss, StateError, TrainingError
from graphexec.train.loop import Plan
from graphexec.train.seeds import seed_of

EIGHT_BITS = [] if find_spec("bitsandbytes") is None else ["AdamW8bit", "Lion8bit"]
RESUMABLE = [
    *EIGHT_BITS,
    "AdamW",
    "SGD",
    "SGDNesterov",
    "Lion",
    "Adafactor",
    "Prodigy",
    "Muon",
    "AdamWScheduleFree",
    "RAdamScheduleFree",
]


def test_the_loss_falls() -> None:
    toy = Toy(of_steps(60))
    toy.run()
    assert toy.steps[-1].loss < toy.steps[0].loss / 20
    assert toy.weights == pytest.approx([1.0, -2.0, 0.5], abs=0.3)


def test_every_step_is_told() -> None:
    toy = Toy(of_steps(6, schedule=Schedule("linear")))
    moments = toy.run()
    assert toy.told[0] == Started(6, 0)
    assert [(one.step, one.total, one.epoch) for one in toy.steps] == [(i, 6, 1 + (i > 4)) for i in range(1, 7)]
    assert toy.steps[3].lr == {"weight": 0.05, "bias": 0.025}
    assert all(one.rate > 0 and one.left >= 0 for one in toy.steps)
    assert [(one.step, one.epoch) for one in moments] == [(1, 1), (2, 1), (3, 1), (4, 1), (4, 1), (5, 2), (6, 2)]
    assert [one.ends_epoch for one in moments] == [False] * 4 + [True] + [False] * 2
    assert toy.loop.loss == toy.steps[-1].loss


def test_two_runs_are_the_same() -> None:
    first, second = Toy(of_steps(9)), Toy(of_steps(9))
    first.run()
    second.run()
    assert first.weights == second.weights


@pytest.mark.parametrize("kind", RESUMABLE)
def test_a_run_goes_on_as_if_it_had_never_stopped(kind: str, tmp_path: Path) -> None:
    plan = of_steps(6, kind, ema_decay=0.9, schedule=Schedule("constant" if "Free" in kind else "cosine", warmup=2))
    if kind in EIGHT_BITS:
        plan = replace(plan, optimiser=Optimiser(kind, arguments={"min_8bit_size": 1}))
    whole, stopped, resumed = Toy(plan), Toy(plan), Toy(plan)
    whole.run()
    for moment in stopped.loop.run():
        if moment.step == 3:
            stopped.loop.save(tmp_path / "state.safetensors")
            break
    with torch.no_grad():
        resumed.network.weight.fill_(9.0)
    resumed.loop.resume(tmp_path / "state.safetensors")
    assert resumed.loop.step == 3
    resumed.run()
    assert resumed.seen == whole.seen[3:]
    assert [one.loss for one in resumed.steps] == [one.loss for one in whole.steps[3:]]
    assert resumed.weights == whole.weights
    with resumed.loop.averaged(), whole.loop.averaged():
        assert resumed.weights == whole.weights


@pytest.mark.parametrize("stop", [4, 5])
def test_a_state_at_the_end_of_an_epoch_goes_on_with_the_next(stop: int, tmp_path: Path) -> None:
    whole, stopped, resumed = Toy(), Toy(), Toy()
    moments = whole.run()
    turns = stopped.loop.run()
    for _ in range(stop):
        next(turns)
    stopped.loop.save(tmp_path / "state")
    resumed.loop.resume(tmp_path / "state")
    assert resumed.run() == moments[stop:]
    assert resumed.weights == whole.weights


def test_a_state_of_another_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    toy = Toy(of_steps(6, schedule=Schedule("cosine")), facts={"data": {"hash": "a", "count": 3}})
    toy.run()
    toy.loop.save(tmp_path / "state")
    other = Toy(of_steps(8, schedule=Schedule("cosine"), accumulation=2), facts={"data": {"hash": "b", "count": 3}})
    with pytest.raises(StateError) as caught:
        other.loop.resume(tmp_path / "state")
    lines = str(caught.value).splitlines()
    assert lines[1:4] == ["  steps: 6 then, 8 now", "  accumulation: 1 then, 2 now", '  data.hash: "a" then, "b" now']
    assert "count" not in str(caught.value)


def test_more_steps_are_no_other_configuration_where_they_make_no_difference(tmp_path: Path) -> None:
    short, long, whole = Toy(of_steps(3)), Toy(of_steps(6)), Toy(of_steps(6))
    short.run()
    short.loop.save(tmp_path / "state")
    long.loop.resume(tmp_path / "state")
    long.run()
    whole.run()
    assert long.weights == whole.weights


def test_what_is_no_number_stops_the_run_and_names_the_pictures(tmp_path: Path) -> None:
    toy = Toy(of_steps(9), Lines(bad=(1, 2)))
    state = tmp_path / "state"
    with pytest.raises(NonFiniteLoss, match=r"step 7 is nan, with these pictures: 1-2\.png"):
        for moment in toy.loop.run():
            if moment.step < 7:
                toy.loop.save(state)
    again = Toy(of_steps(9))
    again.loop.resume(state)
    assert again.loop.step == 6


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_gradients_that_are_no_numbers_stop_the_run_before_it_is_saved(limit: float, tmp_path: Path) -> None:
    toy = Toy(replace(of_steps(6), optimiser=Optimiser(max_grad_norm=limit)))

    def spoilt(gradient: Tensor) -> Tensor:
        return gradient * (float("nan") if len(toy.seen) == 3 else 1.0)

    toy.network.bias.register_hook(spoilt)
    with pytest.raises(NonFiniteLoss, match=r"gradients of step 3 are nan, though its loss is not.*: 0-2\.png"):
        for moment in toy.loop.run(lambda: False):
            toy.loop.save(tmp_path / "state")
            assert moment.step < 3
    again = Toy(replace(of_steps(6), optimiser=Optimiser(max_grad_norm=limit)))
    again.loop.resume(tmp_path / "state")
    assert again.loop.step == 2


def test_what_a_step_makes_infinite_is_not_saved(tmp_path: Path) -> None:
    toy = Toy()
    turns = toy.loop.run()
    next(turns)
    with torch.no_grad():
        toy.network.bias.fill_(math.inf)
    with pytest.raises(NonFiniteLoss, match="after step 1 what is trained holds NaN or infinity"):
        toy.loop.save(tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_nothing_is_saved_of_a_run_that_is_lost(tmp_path: Path) -> None:
    toy = Toy(of_steps(9), Lines(bad=(0, 1)))
    vars(toy.loop)["_meter"].block = 5
    turns = toy.loop.run()
    next(turns)
    next(turns)
    with pytest.raises(NonFiniteLoss, match=r"0-1\.png"):
        toy.loop.save(tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_run_that_is_asked_to_stop_can_be_taken_up(tmp_path: Path) -> None:
    toy, whole = Toy(), Toy()
    with pytest.raises(Cancelled, match="after step 2 of 6"):
        toy.run(lambda: toy.loop.step == 2)
    toy.loop.save(tmp_path / "state")
    resumed = Toy()
    resumed.loop.resume(tmp_path / "state")
    resumed.run()
    whole.run()
    assert resumed.weights == whole.weights


def test_gradients_of_several_batches_make_a_step() -> None:
    """Steps never reach over an epoch's end: the last is over what is left."""
    toy = Toy(of_steps(4, accumulation=3))
    toy.run()
    assert [one.epoch for one in toy.steps] == [1, 1, 2, 2]
    assert len(toy.seen) == 8
    one = Toy(Plan(1, 7, accumulation=2, optimiser=Optimiser("SGD", max_grad_norm=0)), Lines(2))
    plain = Toy(Plan(1, 7, optimiser=Optimiser("SGD", max_grad_norm=0)))
    before = torch.cat([parameter.detach().flatten() for parameter in one.network.parameters()])
    generators = [torch.Generator().manual_seed(seed_of(7, "noise", 0, i)) for i in range(2)]
    batches = zip(Lines(2).epoch(0), generators, strict=True)
    sum(plain.losses(batch, generator).mean() / 2 for batch, generator in batches).backward()  # pyright: ignore
    one.run()
    gradients = torch.cat([parameter.grad.flatten() for parameter in plain.network.parameters()])  # pyright: ignore
    expected = before - torch.tensor([0.1, 0.1, 0.05]) * gradients
    assert one.weights == pytest.approx(expected.tolist())


def test_gradients_are_clipped() -> None:
    toy = Toy(Plan(1, 7, optimiser=Optimiser("SGD", max_grad_norm=0.001)))
    before = toy.weights
    toy.run()
    moved = [abs(a - b) for a, b in zip(before, toy.weights, strict=True)]
    assert 0 < max(moved) <= 0.0001 * 1.0001


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_trains_too(precision: str, tmp_path: Path) -> None:
    toy = Toy(of_steps(60, precision=precision))
    toy.run()
    assert toy.steps[-1].loss < toy.steps[0].loss / 20
    toy.loop.save(tmp_path / "state")
    Toy(of_steps(60, precision=precision)).loop.resume(tmp_path / "state")


class LeftOut(Toy):
    """Dropout leaves out every module, in the second step."""

    def losses(self, batch: Points, generator: torch.Generator) -> Tensor:
        losses = super().losses(batch, generator)
        return losses.detach() if len(self.seen) == 2 else losses


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_step_from_which_dropout_leaves_out_every_module_changes_nothing(precision: Precision) -> None:
    toy = LeftOut(of_steps(3, precision=precision))
    weights = [toy.weights for _ in toy.loop.run()]
    assert weights[0] == weights[1]
    assert [one.step for one in toy.steps] == [1, 2, 3]


def test_the_moving_average_is_lent() -> None:
    toy, plain = Toy(of_steps(6, ema_decay=0.5)), Toy()
    toy.run()
    plain.run()
    assert toy.weights == plain.weights
    with toy.loop.averaged():
        assert toy.weights != plain.weights
    assert toy.weights == plain.weights


def test_a_constraint_holds_after_every_step() -> None:
    toy = Toy()
    vars(toy.loop)["_constrain"] = lambda: toy.network.weight.data.clamp_(-0.01, 0.01)
    toy.run()
    assert float(toy.network.weight.detach().abs().max()) <= 0.01


def test_no_pictures_are_an_error() -> None:
    with pytest.raises(TrainingError, match="no pictures"):
        Toy(batches=Lines(0)).run()


def test_seeds_differ_by_what_they_are_for() -> None:
    assert (
        len({seed_of(7, "noise", 0, i) for i in range(50)} | {seed_of(8, "noise", 0, 0), seed_of(7, "x", 0, 0)}) == 52
    )
