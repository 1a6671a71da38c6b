"""Headers of LoRA files that hold no weights."""

from __future__ import annotations

from collections.abc import Mapping

from graphexec.lora.header import Header, Shape, TensorInfo


def header_of(shapes: Mapping[str, Shape], metadata: Mapping[str, str] | None = None) -> Header:
    """A header with tensors of these shapes."""
    return Header({name: TensorInfo("F32", tuple(shape), 0, 0) for name, shape in shapes.items()}, metadata or {})
