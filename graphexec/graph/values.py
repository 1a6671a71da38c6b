"""Checks a value written into a workflow against its input, and converts what ComfyUI converts.

Where ComfyUI's reading surprises, this one is right instead: "false" is False, null is no text, NaN is no number.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from graphexec.graph.prefixes import expand_prefix, prefix_fault
from graphexec.node.spec import InputSpec

Code = Literal[
    "invalid_input_type",
    "value_smaller_than_min",
    "value_bigger_than_max",
    "value_not_in_list",
    "prefix_outside_output",
    "bad_filename_prefix",
    "lossy_conversion",
]

LARGEST_EXACT_FLOAT = 2**53
LONGEST_SHOWN = 80
MANY_CHOICES = 20
SHORTEST_DATE = datetime(2000, 1, 1)
"""Whatever the moment of writing, names are at least as long."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a value; `lossy_conversion` alone is a warning."""

    code: Code
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A value as the node gets it, and what had to be said of it."""

    value: Any
    problems: tuple[Problem, ...] = ()

    @property
    def valid(self) -> bool:
        return all(problem.code == "lossy_conversion" for problem in self.problems)


class _NotConvertibleError(Exception):
    """The value cannot be read as the type; the text is a hint."""


def check_value(spec: InputSpec, value: Any, *, bounds: bool = True) -> Checked:
    """Check and convert `value`; `bounds` False leaves range and choices to the node's own check."""
    if spec.wire == "*" or _is_plain(spec, value):
        return Checked(value)
    if spec.choices is not None:
        return _check_choice(spec, value) if bounds else Checked(value)
    try:
        converted, loss = _convert(spec.wire, value)
    except _NotConvertibleError as error:
        message = f"Failed to convert an input value to a {spec.wire} value: {show(value)}"
        return Checked(value, (Problem("invalid_input_type", message, str(error) or None),))
    problems = [Problem("lossy_conversion", loss)] if loss else []
    if bounds:
        problems += _check_range(spec, converted)
    if spec.look.filename_prefix:
        problems += _check_prefix(converted)
    return Checked(converted, tuple(problems))


def _is_plain(spec: InputSpec, value: Any) -> bool:
    """Whether a number or flag is just what the input takes, as nearly all are."""
    if type(value) is not PLAIN_TYPES.get(spec.wire) or (spec.wire == "FLOAT" and not math.isfinite(value)):
        return False
    low, high = spec.minimum, spec.maximum
    return (low is None or low <= value) and (high is None or value <= high)


def show(value: Any) -> str:
    """A value as text, short enough for a message."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def _convert(wire: str, value: Any) -> tuple[Any, str | None]:
    """The value as the first type of the union that takes it whole, or that takes it; and what was lost on the way."""
    hints: list[str] = []
    lossy: tuple[Any, str | None] | None = None
    for name in wire.split(","):
        converter = CONVERTERS.get(name.strip())
        if converter is None:
            continue
        try:
            converted = converter(value)
        except _NotConvertibleError as error:
            hints.append(str(error))
            continue
        if converted[1] is None:
            return converted
        lossy = lossy or converted
    if lossy is not None:
        return lossy
    raise _NotConvertibleError(hints[0] if hints else f"link it to an output of type {wire}")


def _to_int(value: Any) -> tuple[int, str | None]:
    if isinstance(value, bool):
        return int(value), f"{value} is read as {int(value)}"
    if isinstance(value, int):
        return value, None
    if isinstance(value, float) and math.isfinite(value):
        whole = int(value)
        return whole, None if value.is_integer() else f"{value} is cut down to {whole}"
    if isinstance(value, str):
        try:
            whole = int(value)
        except ValueError:
            raise _NotConvertibleError("write a whole number, without quotes") from None
        return whole, f"the text {show(value)} is read as {whole}"
    raise _NotConvertibleError("write a whole number")


def _to_float(value: Any) -> tuple[float, str | None]:
    if isinstance(value, bool):
        return float(value), f"{value} is read as {float(value)}"
    if isinstance(value, int):
        return _int_to_float(value)
    if isinstance(value, float) and math.isfinite(value):
        return value, None
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            raise _NotConvertibleError("write a number, without quotes") from None
        if math.isfinite(number):
            return number, f"the text {show(value)} is read as {number}"
    raise _NotConvertibleError("write a finite number")


def _int_to_float(value: int) -> tuple[float, str | None]:
    if abs(value) <= LARGEST_EXACT_FLOAT:
        return float(value), None
    try:
        number = float(value)
    except OverflowError:
        raise _NotConvertibleError("the number is too large for a float") from None
    return number, None if int(number) == value else f"{value} is rounded to {number}"


def _to_string(value: Any) -> tuple[str, str | None]:
    if isinstance(value, str):
        return value, None
    if isinstance(value, bool | int | float):
        return str(value), f"{value} is read as the text {str(value)!r}"
    raise _NotConvertibleError("write a text in quotes")


def _to_bool(value: Any) -> tuple[bool, str | None]:
    if isinstance(value, bool):
        return value, None
    if isinstance(value, int | float):
        return bool(value), f"{value} is read as {str(bool(value)).lower()}"
    if isinstance(value, str) and (known := TRUTH.get(value.strip().casefold())) is not None:
        return known, f"the text {value!r} is read as {str(known).lower()}"
    raise _NotConvertibleError("write true or false, without quotes")


PLAIN_TYPES: Mapping[str, type[Any]] = {"INT": int, "FLOAT": float, "BOOLEAN": bool}

TRUTH: Mapping[str, bool] = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}

CONVERTERS: Mapping[str, Callable[[Any], tuple[Any, str | None]]] = {
    "INT": _to_int,
    "FLOAT": _to_float,
    "STRING": _to_string,
    "BOOLEAN": _to_bool,
}


def check_linked(spec: InputSpec, value: Any) -> list[Problem]:
    """Whether a number that a link brought is 0 or less where only more than that makes sense: counts, sizes.

    Links may go beyond a range otherwise: many are only what an editor offers, and ComfyUI holds no link to them.
    """
    low = spec.minimum
    if low is None or not isinstance(value, int | float) or not value <= 0 < low:
        return []
    return _check_range(spec, value)


def _check_range(spec: InputSpec, value: Any) -> list[Problem]:
    if not isinstance(value, int | float):
        return []
    if spec.minimum is not None and value < spec.minimum:
        return [
            Problem(
                "value_smaller_than_min",
                f"Value {show(value)} smaller than min of {spec.minimum}",
                f"use at least {spec.minimum}",
            )
        ]
    if spec.maximum is not None and value > spec.maximum:
        return [
            Problem(
                "value_bigger_than_max",
                f"Value {show(value)} bigger than max of {spec.maximum}",
                f"use at most {spec.maximum}",
            )
        ]
    return []


def _check_prefix(prefix: str) -> list[Problem]:
    """What is certain before dates and sizes are filled in; the output folder looks again when it writes."""
    fault = prefix_fault(expand_prefix(prefix, SHORTEST_DATE))
    if fault is None:
        return []
    code: Code = "prefix_outside_output" if fault.outside else "bad_filename_prefix"
    return [Problem(code, f"The file name prefix {show(prefix)} {fault.what}", fault.hint)]


def _check_choice(spec: InputSpec, value: Any) -> Checked:
    choices = spec.choices or ()
    for choice in choices:
        if choice == value and isinstance(choice, bool) is isinstance(value, bool):  # JSON does not tell 1.0 from 1
            return Checked(choice)
    names = [str(choice) for choice in choices]
    problem = Problem("value_not_in_list", not_in_list(value, choices), did_you_mean(str(value), names))
    return Checked(value, (problem,))


def not_in_list(value: Any, choices: Sequence[Any]) -> str:
    """The message for a value that is none of `choices`, in ComfyUI's words."""
    listed = f"(list of length {len(choices)})" if len(choices) > MANY_CHOICES else f"[{', '.join(map(repr, choices))}]"
    return f"Value not in list: {show(value)} not in {listed}"


def did_you_mean(name: str, names: list[str]) -> str | None:
    """A hint with the names that look like `name`, or None."""
    folded = {known.casefold(): known for known in names}
    hits = [folded[hit] for hit in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)]
    return suggestion(hits)


def suggestion(names: Sequence[str]) -> str | None:
    """A hint that names what may have been meant, or None."""
    return f"did you mean {' or '.join(f'`{name}`' for name in names)}?" if names else None
