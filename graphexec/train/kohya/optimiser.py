"""`optimizer_type`, `optimizer_args`, `lr_scheduler`: the optimiser and the course of its learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from graphexec.train.config import Optimiser, Schedule, ScheduleKind
from graphexec.train.kohya.keys import Key
from graphexec.train.kohya.settings import Settings, Tables, checked, fill, nearest
from graphexec.train.kohya.values import literal, pairs

__all__ = ["OPTIMISERS", "read_optimiser", "read_schedule"]

OPTIMISERS = (
    "AdamW",
    "Adam",
    "RMSprop",
    "AdamW8bit",
    "PagedAdamW8bit",
    "Lion",
    "Lion8bit",
    "PagedLion8bit",
    "Adafactor",
    "Prodigy",
    "AdamWScheduleFree",
    "RAdamScheduleFree",
    "SGDScheduleFree",
    "SGD",
    "Muon",
    "SGDNesterov",
)
DEFAULT_RATE = 2e-6
SCHEDULE_ARGUMENTS = Tables(
    {
        "num_cycles": Key("number", "schedule.cycles", least=0),
        "power": Key("number", "schedule.power", least=0),
        "min_lr_ratio": Key("number", "schedule.min_lr_ratio", least=0, most=1),
        "min_lr_rate": Key("number", "schedule.min_lr_ratio", least=0, most=1),
    }
)
TAKEN: Mapping[ScheduleKind, tuple[str, ...]] = {
    "cosine": ("num_cycles",),
    "cosine_with_restarts": ("num_cycles",),
    "cosine_with_min_lr": ("num_cycles", "min_lr_ratio", "min_lr_rate"),
    "polynomial": ("power",),
}
"""What of them each kind of schedule takes."""
WHOLE_WAVES: Sequence[ScheduleKind] = ("cosine", "cosine_with_min_lr")
"""Kinds whose `num_cycles` is 0.5 for the half wave that `lr_scheduler_num_cycles` counts as one."""


def read_optimiser(settings: Settings, rates: Mapping[str, Any]) -> Optimiser:
    """The optimiser; `rates` is what network_args say of learning rates."""
    fields: dict[str, Any] = {"learning_rate": DEFAULT_RATE} | fill(settings.values, "optimiser") | dict(rates)
    return Optimiser(**fields, kind=_kind(settings), arguments=_arguments(settings))


def read_schedule(settings: Settings, optimiser: Optimiser) -> Schedule:
    """The course of the learning rate."""
    kind = settings.get("lr_scheduler", "constant").lower()
    if kind.partition(":")[0] == "adafactor" and optimiser.kind == "Adafactor":
        message = "only shows the steps that Adafactor chooses: the schedule is constant"
        settings.faults.note("no_consequence", settings.source("lr_scheduler"), "lr_scheduler", message)
        kind = "constant"
    if kind not in get_args(ScheduleKind):
        hint = nearest(kind, list(get_args(ScheduleKind))) or f"one of {', '.join(get_args(ScheduleKind))}"
        settings.error("wrong_value", "lr_scheduler", f"there is no schedule {kind!r}", hint)
        kind = "constant"
    given = _pairs(settings, "lr_scheduler_args")
    sources = dict.fromkeys(given, settings.source("lr_scheduler_args"))
    arguments = checked(given, sources, SCHEDULE_ARGUMENTS, settings.faults, "lr_scheduler_args.")
    _refuse_untaken(settings, kind, arguments)
    if kind in WHOLE_WAVES and "num_cycles" in arguments:
        arguments["num_cycles"] *= 2
    fields = fill(settings.values, "schedule")
    if kind == "cosine":
        fields.pop("cycles", None)  # which sd-scripts does not hear of for this kind, and GUIs write all the same
    more = {SCHEDULE_ARGUMENTS.followed[name].fills.rpartition(".")[2]: value for name, value in arguments.items()}
    return Schedule(kind=kind, **fields | more)


def _refuse_untaken(settings: Settings, kind: ScheduleKind, arguments: Mapping[str, Any]) -> None:
    for name in arguments:
        if name not in TAKEN.get(kind, ()):
            takers = " or ".join(other for other, taken in TAKEN.items() if name in taken)
            message, hint = f"the schedule {kind} does not take it", f"leave it out, or set lr_scheduler to {takers}"
            settings.error("contradiction", f"lr_scheduler_args.{name}", message, hint)


def _kind(settings: Settings) -> str:
    flags = {"use_8bit_adam": "AdamW8bit", "use_lion_optimizer": "Lion"}
    asked = {key: kind for key, kind in flags.items() if settings.get(key)}
    if name := settings.get("optimizer_type"):
        asked["optimizer_type"] = name
    if len(asked) > 1:
        settings.error("contradiction", next(iter(asked)), f"{', '.join(asked)} name several optimisers", "keep one")
    key, name = next(iter(asked.items()), ("optimizer_type", "AdamW"))
    by_lower = {each.lower(): each for each in OPTIMISERS}
    if (found := by_lower.get(name.lower().rpartition(".")[2])) is None:
        hint = nearest(name, list(OPTIMISERS)) or f"use one of {', '.join(OPTIMISERS)}"
        settings.error("refused_key", key, f"there is no optimiser {name!r} here", hint)
    return found or "AdamW"


def _arguments(settings: Settings) -> dict[str, object]:
    found = dict[str, object]()
    for name, text in _pairs(settings, "optimizer_args").items():
        if name in ("lr", "params"):
            message = "is not an argument of its own: settings say what is trained, and how fast"
            settings.error("contradiction", f"optimizer_args.{name}", message, "set learning_rate, and leave it out")
            continue
        try:
            found[name] = literal(text)
        except ValueError as error:
            hint = "put texts into quotes of their own; several arguments are a list, each like name=value"
            settings.error("wrong_value", f"optimizer_args.{name}", f"expected {error}, not {text!r}", hint)
    return found


def _pairs(settings: Settings, key: str) -> dict[str, str]:
    try:
        return pairs(settings.get(key, ()))
    except ValueError as error:
        settings.error("wrong_value", key, f"expected {error}")
        return {}
