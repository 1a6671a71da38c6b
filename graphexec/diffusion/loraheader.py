"""The header of a LoRA, wherever it lies; no tensor is read, and torch is not imported."""

from __future__ import annotations

from graphexec.diffusion.sources import LoraModel, LoraSource
from graphexec.lora.header import Header, header_of, in_file
from graphexec.lora.metadata import read_lora_header

__all__ = ["lora_header"]


def lora_header(lora: LoraSource) -> Header:
    """The header of a LoRA; `ModelFileError` if it cannot be read."""
    if not isinstance(lora, LoraModel):
        return read_lora_header(lora.path)
    with in_file(lora.path):
        return header_of(lora.content)
