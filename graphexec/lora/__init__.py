"""LoRA files: what is in them, which weights of a model they change, and by how much."""

from __future__ import annotations

from graphexec.lora.coverage import Coverage, lora_coverage
from graphexec.lora.formats import LoraFile, LoraModule, list_modules
from graphexec.lora.summary import Summary, summarize

__all__ = ["Coverage", "LoraFile", "LoraModule", "Summary", "list_modules", "lora_coverage", "summarize"]
