"""JSON that is in memory already, held to the same rules as JSON out of a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from graphexec.graph.scan import MAX_DEPTH, MAX_DIGITS, Fault, Loaded
from graphexec.graph.source import has_surrogates, mend

__all__ = ["copy_json"]


def copy_json(document: Mapping[Any, Any]) -> Loaded:
    """Copy JSON that is in memory already, and find in it what no JSON text could hold."""
    return _Copier(document).run()


class _Copier:
    """Copies JSON in memory with its own stack."""

    def __init__(self, document: Mapping[Any, Any]) -> None:
        self.faults: list[Fault] = []
        self.root: list[Any] = [None]
        self.work: list[tuple[Any, dict[str, Any] | list[Any], str | int, tuple[str, ...]]] = []
        self.work.append((document, self.root, 0, ()))

    def run(self) -> Loaded:
        while self.work:
            value, into, key, path = self.work.pop()
            cast("dict[str | int, Any]", into)[key] = self._copy(value, path)
        return Loaded(self.root[0], tuple(self.faults))

    def _copy(self, value: Any, path: tuple[str, ...]) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, int | float):
            return self._number(value, path)
        if len(path) >= MAX_DEPTH and isinstance(value, Mapping | list | tuple):
            return self._fault("nested_too_deeply", f"Nested more than {MAX_DEPTH} levels deep", path[:4], "…")
        if isinstance(value, Mapping):
            return self._object(cast("Mapping[Any, Any]", value), path)
        if isinstance(value, list | tuple):
            return self._list(cast("Sequence[Any]", value), path)
        kind = type(value).__name__
        return self._fault("not_json", f"A value of the Python type {kind} is not JSON", path, kind)

    def _fault(self, code: str, message: str, path: tuple[str, ...], received: str) -> None:
        self.faults.append(Fault(code, message, path, received=received, expected="a value that JSON can hold"))

    def _text(self, value: str, path: tuple[str, ...]) -> str:
        if not has_surrogates(value):
            return str(value)
        self._fault("lone_surrogate", "The text holds half a character (a lone surrogate)", path, repr(value)[:60])
        return mend(value)

    def _number(self, value: float, path: tuple[str, ...]) -> float | None:
        if isinstance(value, float):
            if math.isfinite(value):
                return float(value)
            return self._fault("not_finite_number", f"{value} is not a number that JSON knows", path, str(value))
        if value.bit_length() <= MAX_DIGITS * math.log2(10):
            return int(value)
        digits = math.ceil(value.bit_length() * math.log10(2))
        return self._fault("number_too_long", f"The number has about {digits} digits", path, f"{digits} digits")

    def _list(self, value: Sequence[Any], path: tuple[str, ...]) -> list[Any]:
        copied: list[Any] = [None] * len(value)
        self.work.extend((value[i], copied, i, (*path, str(i))) for i in reversed(range(len(value))))
        return copied

    def _object(self, value: Mapping[Any, Any], path: tuple[str, ...]) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        work: list[tuple[Any, dict[str, Any] | list[Any], str | int, tuple[str, ...]]] = []
        for key, item in value.items():
            if not isinstance(key, str | int) or isinstance(key, bool):
                self._fault("not_json", f"The key {key!r} is not a text", path, repr(key)[:60])
                continue
            name = self._text(str(key), path)
            if name in copied:
                self._fault("duplicate_key", f'"{name}" is given twice in the same object', (*path, name), repr(key))
            copied[name] = None
            work.append((item, copied, name, (*path, name)))
        self.work.extend(reversed(work))
        return copied
