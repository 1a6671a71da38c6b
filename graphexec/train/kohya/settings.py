"""Settings checked against the tables of keys: typed where they are followed, named where they are not."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphexec.train.kohya.faults import Faults
from graphexec.train.kohya.keys import DATASET_ONLY, FOLLOWED, HARMLESS, NEUTRAL, OURS, REFUSED, Key
from graphexec.train.kohya.values import convert, is_off

__all__ = ["OPTIONS", "Settings", "Tables", "checked", "fill", "nearest"]


@dataclass(frozen=True, slots=True)
class Tables:
    """The keys that may stand in one place: followed, of no consequence (and why), refused (and what to do)."""

    followed: Mapping[str, Key]
    harmless: Mapping[str, str] = field(default_factory=dict[str, str])
    refused: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def names(self) -> list[str]:
        """All names, for suggestions."""
        return [*self.followed, *self.harmless, *self.refused]


OPTIONS = Tables({**FOLLOWED, **OURS}, HARMLESS, REFUSED)
_FILLS = {**FOLLOWED, **OURS, **DATASET_ONLY}


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of a run: typed values, where each stands, and what was found on the way."""

    values: Mapping[str, Any]
    sources: Mapping[str, str]
    main: str
    faults: Faults

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or what it is without one."""
        return self.values.get(key, default)

    def is_set(self, key: str) -> bool:
        """Whether a key is given a value, be it one that was refused."""
        return key in self.values or self.faults.refused(key)

    def source(self, key: str) -> str:
        """The file (or command line) in which a key stands; the first one for a key that is not there."""
        return self.sources.get(key, self.main)

    def error(self, code: str, key: str, message: str, hint: str | None = None) -> None:
        """Note something at a key that prevents the run."""
        self.faults.error(code, self.source(key), key, message, hint)

    def warn(self, code: str, key: str, message: str, hint: str | None = None) -> None:
        """Note something at a key that is likely not meant."""
        self.faults.warn(code, self.source(key), key, message, hint)


def fill(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The fields of a section of `TrainConfig` that keys fill as they are."""
    return {
        key.fills.rpartition(".")[2]: values[name]
        for name, key in _FILLS.items()
        if name in values and not key.read and key.fills.rpartition(".")[0] == section
    }


def checked(
    raw: Mapping[str, object], sources: Mapping[str, str], tables: Tables, faults: Faults, within: str = ""
) -> dict[str, Any]:
    """The values that are followed, typed; everything else is reported. Values of None are as good as absent."""
    values: dict[str, Any] = {}
    for name, value in raw.items():
        if value is None:
            continue
        source, place = sources[name], within + name
        if name in tables.followed:
            _take(values, name, value, tables.followed[name], faults, source, place)
        elif name in tables.harmless:
            if not is_off(value):
                faults.note("no_consequence", source, place, f"of no consequence here: {tables.harmless[name]}")
        elif name in tables.refused:
            if not _changes_nothing(name, value):
                why, _, hint = tables.refused[name].partition(": ")
                faults.error("refused_key", source, place, f"cannot be followed: {why}", hint or None)
        else:
            faults.error("unknown_key", source, place, "there is no such setting", nearest(name, tables.names))
    return values


def nearest(name: str, names: list[str]) -> str | None:
    """The name that was likely meant, as a hint."""
    found = difflib.get_close_matches(name, names, 1)
    return f"did you mean {found[0]}?" if found else None


def _changes_nothing(name: str, value: object) -> bool:
    """Whether a refused option has the value that it has without being set."""
    return str(value) in NEUTRAL[name] if name in NEUTRAL else is_off(value)


def _take(values: dict[str, Any], name: str, value: object, key: Key, faults: Faults, source: str, place: str) -> None:
    if value == "" and key.kind not in ("text", "filled"):
        return
    try:
        found = convert(key.kind, value)
        _check_range(found, key)
    except ValueError as error:
        faults.error("wrong_value", source, place, f"expected {error}, not {value!r}")
        return
    values[name] = found


def _check_range(found: Any, key: Key) -> None:
    if key.choices and str(found) not in key.choices:
        raise ValueError("one of " + ", ".join(key.choices))
    numbers: tuple[Any, ...] = found if isinstance(found, tuple) else (found,)
    if key.least is not None and any(number < key.least for number in numbers):
        raise ValueError(f"at least {key.least:g}")
    if key.most is not None and any(number > key.most for number in numbers):
        raise ValueError(f"at most {key.most:g}")
