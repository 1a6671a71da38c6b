"""Validates documents against JSON Schemas."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator


def validator(schema: Any) -> Any:
    """A validator by the draft that is published; its own annotations are too loose for a strict type checker."""
    return Draft202012Validator(schema)
