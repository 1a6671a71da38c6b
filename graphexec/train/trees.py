"""Nested values with tensors in them, as JSON and named tensors: what optimisers keep, without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from graphexec.train.faults import StateError

__all__ = ["join", "split"]

TENSOR, PAIRS, TUPLE = "tensor", "pairs", "tuple"


def split(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON; its tensors go to `tensors` under names that begin with `name`."""
    match value:
        case Tensor():
            tensors[name] = value.detach()
            return {TENSOR: name}
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {PAIRS: [[key, split(inner, f"{name}.{key}", tensors)] for key, inner in value.items()]}
        case tuple():
            return {TUPLE: [split(inner, f"{name}.{i}", tensors) for i, inner in enumerate(value)]}
        case list():
            return [split(inner, f"{name}.{i}", tensors) for i, inner in enumerate(value)]
        case _:
            raise StateError(f"{name}: a {type(value).__name__} cannot be saved with a state")


def join(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The value that `split` took apart."""
    match value:
        case {"tensor": name}:
            return tensors[name]
        case {"pairs": pairs}:
            return {key: join(inner, tensors) for key, inner in pairs}
        case {"tuple": items}:
            return tuple(join(inner, tensors) for inner in items)
        case list():
            return [join(inner, tensors) for inner in value]
        case _:
            return value
