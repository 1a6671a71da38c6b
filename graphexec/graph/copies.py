"""Copies of what a run hands out: a host may change its result in place, and the cache's values stay as they are."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, TypeVar, cast

from graphexec.node.boundary import Raised, attempt

T = TypeVar("T")


def copied(value: T) -> T:
    """The value with tensors, arrays, lists and dicts of its own, in dataclasses too; all else is shared.

    So is all of it where some part cannot be copied: what was computed is not lost for that.
    """
    made = attempt(_copy, {"value": value, "made": {}})
    return value if isinstance(made, Raised) else made


def _copy(value: Any, made: dict[int, Any]) -> Any:
    """A copy that is made once, however often the value is referred to."""
    if id(value) not in made:
        made[id(value)] = _made(value, partial(_copy, made=made))
    return made[id(value)]


def _made(value: Any, part: Callable[[Any], Any]) -> Any:
    kind = cast("type[Any]", type(value))
    if kind is list:
        return [part(item) for item in value]
    if kind is dict:
        return {key: part(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, tuple):
        return _tuple(cast("tuple[Any, ...]", value), part)
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value, part)
    clone = getattr(value, "clone", None) or getattr(value, "copy", None)
    return clone() if hasattr(value, "nbytes") and callable(clone) else value


def _tuple(value: tuple[Any, ...], part: Callable[[Any], Any]) -> Any:
    items = [part(item) for item in value]
    if all(item is own for item, own in zip(value, items, strict=True)):
        return value
    make: Callable[[list[Any]], Any] = getattr(value, "_make", type(value))
    return make(items)


def _fields(value: Any, part: Callable[[Any], Any]) -> Any:
    parts = {field.name: getattr(value, field.name) for field in fields(value)}
    own = {name: part(item) for name, item in parts.items()}
    if all(own[name] is item for name, item in parts.items()):
        return value
    twin = copy.copy(value)
    for name, item in own.items():
        object.__setattr__(twin, name, item)  # a frozen one too: nobody has seen it yet
    return twin
