"""LoRA files as sd-scripts writes them, with the hashes that programs know them by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from graphexec.diffusion.files import write_whole
from graphexec.diffusion.save import Saved, safetensors_chunks, widest_first

__all__ = ["lora_bytes", "save_lora"]

LEGACY = slice(0x100000, 0x110000)
"""The bytes of which the old short hash is made."""


def save_lora(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a LoRA, whole or not at all. Raises `OutputError`."""
    write_whole(path, _pieces(tensors, metadata), parents=True)


def lora_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A LoRA file: the same for the same tensors and metadata, in whatever order they come.

    `sshs_model_hash` is SHA-256 of all that follows the header, `sshs_legacy_hash` of the second mebibyte's start of a
    file that has no metadata but `ss_` ones: eight digits, which are those of nothing for a file of less.
    """
    return b"".join(_pieces(tensors, metadata))


def _pieces(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[bytes, bytes]:
    """The header, with the hashes, and the weights."""
    saved = widest_first(
        Saved(name, tensor.dtype, tuple(tensor.shape), lambda t=tensor: t) for name, tensor in sorted(tensors.items())
    )
    trained = {name: value for name, value in sorted(metadata.items()) if name.startswith("ss_")}
    bare, *made = safetensors_chunks(saved, trained)
    weights = b"".join(made)
    whole = hashlib.sha256(weights).hexdigest()
    legacy = hashlib.sha256((bare + weights[: LEGACY.stop])[LEGACY]).hexdigest()[:8]
    hashes = {"sshs_model_hash": whole, "sshs_legacy_hash": legacy, "modelspec.hash_sha256": f"0x{whole}"}
    return next(safetensors_chunks(saved, dict(sorted({**metadata, **hashes}.items())))), weights
