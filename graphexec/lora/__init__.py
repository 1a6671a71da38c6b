"""LoRA files: what is in them, which weights of a model they change, and by how much."""

from __future__ import annotations

from graphexec.lora.coverage import Coverage, lora_coverage, lora_facts

__all__ = ["Coverage", "lora_coverage", "lora_facts"]
