"""Nodes that hold a value, or show one."""

from __future__ import annotations

import json
from typing import Annotated, Any

from graphexec.node.decorator import node
from graphexec.node.fields import Artifacts, Range, Widget

LARGEST = 0x7FFF_FFFF_FFFF_FFFF

AnyInt = Annotated[int, Range(ge=-LARGEST, le=LARGEST), Widget(control_after_generate=True)]
AnyFloat = Annotated[float, Range(ge=-LARGEST, le=LARGEST)]
PlainText = Annotated[str, Widget(multiline=True)]


@node("PrimitiveInt", category="utils/primitive", display_name="Int")
def hold_int(value: AnyInt) -> int:
    """A whole number.

    Args:
        value: the number.
    """
    return value


@node("PrimitiveFloat", category="utils/primitive", display_name="Float")
def hold_float(value: AnyFloat) -> float:
    """A number.

    Args:
        value: the number.
    """
    return value


@node("PrimitiveString", category="utils/primitive", display_name="String")
def hold_string(value: str) -> str:
    """A text.

    Args:
        value: the text.
    """
    return value


@node("PrimitiveStringMultiline", category="utils/primitive", display_name="String (Multiline)")
def hold_lines(value: PlainText) -> str:
    """A text of several lines.

    Args:
        value: the text.
    """
    return value


@node("PrimitiveBoolean", category="utils/primitive", display_name="Boolean")
def hold_boolean(value: bool) -> bool:
    """True or false.

    Args:
        value: the value.
    """
    return value


@node("PreviewAny", category="utils", display_name="Preview Any")
def preview_any(source: Any) -> Artifacts:
    """Show a value as text.

    Args:
        source: the value.
    """
    return Artifacts(text=(_shown(source),))


def _shown(value: Any) -> str:
    """A text as it is, numbers as Python writes them, what JSON can say as JSON, anything else by its name."""
    if value is None or isinstance(value, str | int | float):
        return str(value)
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return str(value)
