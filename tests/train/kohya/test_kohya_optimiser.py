from __future__ import annotations

import pytest
from train.kohya.settings import Desk

from graphexec.train.kohya.optimiser import OPTIMISERS


def test_optimisers_are_those_that_the_loop_has() -> None:
    from graphexec.train import optimisers

    assert set(OPTIMISERS) == set(optimisers.OPTIMISERS)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "AdamW"),
        ('optimizer_type = "adamw8BIT"', "AdamW8bit"),
        ("use_8bit_adam = true", "AdamW8bit"),
        ("use_lion_optimizer = true", "Lion"),
        ('optimizer_type = "prodigyopt.Prodigy"\nlearning_rate = 1', "Prodigy"),
    ],
)
def test_kinds(desk: Desk, text: str, kind: str) -> None:
    base = text.replace("learning_rate = 1", "")
    overrides = {"learning_rate": "1"} if "learning_rate" in text else {}
    assert desk.reading(base, overrides=overrides).config.optimiser.kind == kind


def test_arguments_are_literals(desk: Desk) -> None:
    arguments = """optimizer_args = ["weight_decay=0.01", "betas=0.9,0.99", "decouple=True", "name='fast'"]"""
    assert desk.config(arguments).optimiser.arguments == {
        "weight_decay": 0.01, "betas": (0.9, 0.99), "decouple": True, "name": "fast",
    }  # fmt: skip
    lower = desk.config('optimizer_args = ["scale_parameter=false", "relative_step=TRUE", "eps=none"]')
    assert lower.optimiser.arguments == {"scale_parameter": False, "relative_step": True, "eps": None}


@pytest.mark.parametrize("argument", ["decouple=True weight_decay=0.01", "decouple=yes", "betas=0.9 0.99", "eps="])
def test_arguments_that_are_no_literals(desk: Desk, argument: str) -> None:
    (fault,) = desk.errors(f'optimizer_args = ["{argument}"]')
    assert (fault.code, fault.key) == ("wrong_value", f"optimizer_args.{argument.partition('=')[0]}")
    assert "(0.9, 0.99)" in fault.message
    assert "several arguments are a list" in str(fault.hint)


@pytest.mark.parametrize("name", ["lr", "params"])
def test_arguments_that_settings_give(desk: Desk, name: str) -> None:
    (fault,) = desk.errors(f'optimizer_args = ["{name}=1"]')
    assert fault.key == f"optimizer_args.{name}" and "set learning_rate" in str(fault.hint)


def test_optimisers_that_there_are_not(desk: Desk) -> None:
    (fault,) = desk.errors('optimizer_type = "DAdaptAdam"')
    assert (fault.code, fault.key) == ("refused_key", "optimizer_type")
    (fault,) = desk.errors('optimizer_type = "AdamW"\nuse_lion_optimizer = true')
    assert fault.code == "contradiction"
    (fault,) = desk.errors('optimizer_args = ["fast"]')
    assert fault.code == "wrong_value"


def test_schedules(desk: Desk) -> None:
    text = 'lr_scheduler = "cosine_with_restarts"\nlr_warmup_steps = 0.1\nlr_scheduler_num_cycles = 3'
    found = desk.config(text).schedule
    assert (found.kind, found.warmup, found.cycles) == ("cosine_with_restarts", 0.1, 3)
    assert desk.config('lr_scheduler = "linear"\nlr_warmup_steps = "10%"').schedule.warmup == 0.1
    (fault,) = desk.errors('lr_warmup_steps = "100%"')
    assert (fault.code, fault.key) == ("wrong_value", "lr_warmup_steps")
    found = desk.config('lr_scheduler = "cosine_with_min_lr"\nlr_scheduler_args = ["min_lr_ratio=0.1"]').schedule
    assert found.min_lr_ratio == 0.1


@pytest.mark.parametrize("name", ["adafactor", "adafactor:0.001"])
def test_the_schedule_of_adafactor(desk: Desk, name: str) -> None:
    reading = desk.reading(f'optimizer_type = "AdaFactor"\nlr_scheduler = "{name}"')
    assert reading.config.schedule.kind == "constant"
    assert [(fault.severity, fault.key) for fault in reading.faults] == [
        ("note", "lr_scheduler"),
        ("warning", "learning_rate"),
    ]
    (fault,) = desk.errors(f'lr_scheduler = "{name}"')
    assert fault.code == "wrong_value"


def test_schedules_that_there_are_not(desk: Desk) -> None:
    (fault,) = desk.errors('lr_scheduler = "cosin"')
    assert fault.hint == "did you mean cosine?"
    (fault,) = desk.errors('lr_scheduler_args = ["T_max=10"]')
    assert (fault.code, fault.key) == ("unknown_key", "lr_scheduler_args.T_max")


def test_cycles_of_a_cosine_are_whole_waves(desk: Desk) -> None:
    text = 'lr_scheduler_num_cycles = 4\nlr_scheduler_args = ["num_cycles=0.25"]\nlr_scheduler = '
    assert desk.config(f'{text}"cosine"').schedule.cycles == 0.5
    assert desk.config(f'{text}"cosine_with_min_lr"').schedule.cycles == 0.5
    assert desk.config(f'{text}"cosine_with_restarts"').schedule.cycles == 0.25
    assert desk.config('lr_scheduler_num_cycles = 4\nlr_scheduler = "cosine"').schedule.cycles == 1


@pytest.mark.parametrize(("kind", "argument"), [("constant", "power=2"), ("cosine", "min_lr_ratio=0.1")])
def test_arguments_that_a_schedule_does_not_take(desk: Desk, kind: str, argument: str) -> None:
    (fault,) = desk.errors(f'lr_scheduler = "{kind}"\nlr_scheduler_args = ["{argument}"]')
    assert (fault.code, fault.key) == ("contradiction", f"lr_scheduler_args.{argument.partition('=')[0]}")
    assert "polynomial" in str(fault.hint) or "cosine_with_min_lr" in str(fault.hint)
