# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import importlib.util
import sys

import pytest
import torch
from torch import nn
from train.toy import Toy, of_steps

from graphexec.diffusion.faults import MissingLibrary
from graphexec.train.config import Optimiser
from graphexec.train.faults import TrainingError
from graphexec.train.groups import ParameterGroup
from graphexec.train.optimisers import OPTIMISERS, Stepper, make_optimiser

EIGHT_BITS = [name for name, kind in OPTIMISERS.items() if kind.extra == "train-8bit"]


def of_two(config: Optimiser, *rates: float) -> Stepper:
    groups = [ParameterGroup(f"g{i}", [nn.Parameter(torch.ones(3))], rate) for i, rate in enumerate(rates)]
    return make_optimiser(groups, config)


@pytest.mark.parametrize("name", [name for name in OPTIMISERS if name not in EIGHT_BITS])
def test_each_optimiser_lowers_the_loss(name: str) -> None:
    toy = Toy(of_steps(40, name))
    before = toy.loss
    toy.run()
    assert toy.loss < before


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("name", [name for name in EIGHT_BITS if "Paged" not in name])
def test_optimisers_of_eight_bits_lower_the_loss(name: str) -> None:
    toy = Toy(of_steps(40, name))
    before = toy.loss
    toy.run()
    assert toy.loss < before


def test_names_are_read_without_regard_to_case() -> None:
    assert type(of_two(Optimiser("adamw"), 0.1).optimiser) is torch.optim.AdamW


def test_an_unknown_optimiser_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(TrainingError, match=r"no optimiser 'AdamV'; did you mean Adam\?"):
        of_two(Optimiser("AdamV"), 0.1)
    with pytest.raises(TrainingError, match="no optimiser 'zzz' "):
        of_two(Optimiser("zzz"), 0.1)


def test_an_unknown_argument_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(TrainingError, match=r"AdamW takes no argument 'd_coef' \(it takes betas, eps"):
        of_two(Optimiser("AdamW", arguments={"d_coef": 2}), 0.1)
    with pytest.raises(TrainingError, match=r"cannot be made with the arguments .*betas=\(2.0, 0.9\)"):
        of_two(Optimiser("AdamW", arguments={"betas": (2.0, 0.9)}), 0.1)


@pytest.mark.parametrize(("name", "extra"), [("AdamW8bit", "train-8bit"), ("Lion", "train")])
def test_a_missing_library_names_its_extra(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = OPTIMISERS[name].module
    for absent in (module, module.partition(".")[0]):
        monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingLibrary, match=rf"pip install 'graphexec\[{extra}\]'"):
        of_two(Optimiser(name), 0.1)


def test_prodigy_takes_one_rate() -> None:
    with pytest.raises(TrainingError, match=r"0\.1 \(g0\), 0\.2 \(g1\)"):
        of_two(Optimiser("Prodigy"), 0.1, 0.2)
    assert of_two(Optimiser("Prodigy", arguments={"d0": 0.5}), 1.0, 1.0).schedule(0.1) == {"g0": 0.05, "g1": 0.05}


def test_adafactor_chooses_its_steps_unless_told_otherwise() -> None:
    assert of_two(Optimiser("Adafactor"), 0.1, 0.2).rates == (None, None)
    arguments = {"relative_step": False, "scale_parameter": False, "warmup_init": False}
    fixed = of_two(Optimiser("Adafactor", arguments=arguments), 0.1, 0.2)
    assert fixed.schedule(0.5) == {"g0": 0.05, "g1": 0.1}


def test_schedule_free_optimisers_keep_their_rate_and_lend_their_average() -> None:
    toy = Toy(of_steps(6, "AdamWScheduleFree"))
    toy.run()
    trained = toy.weights
    with toy.loop.averaged():
        assert toy.weights != trained
    assert toy.weights == pytest.approx(trained)
    assert toy.loop.stepper.schedule(0.5) == {"weight": 0.1, "bias": 0.05}


@pytest.mark.parametrize("name", [name for name, kind in OPTIMISERS.items() if kind.own_course])
def test_lending_the_average_leaves_no_trace(name: str) -> None:
    weights = nn.Parameter(torch.linspace(-1, 1, 257))
    stepper = make_optimiser([ParameterGroup("all", [weights], 0.1)], Optimiser(name))
    for _ in range(20):
        weights.square().sum().backward()
        stepper.optimiser.step()
        stepper.optimiser.zero_grad()
    trained = weights.detach().clone()
    with stepper.averaged():
        pass
    assert torch.equal(weights, trained)


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(TrainingError, match="nothing to train"):
        make_optimiser([ParameterGroup("none", [], 0.1)], Optimiser())
