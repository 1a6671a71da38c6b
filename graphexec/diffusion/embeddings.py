"""Embeddings (textual inversion, Gal et al. 2022, https://arxiv.org/abs/2208.01618): found by name, read from files.

Importing this imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from graphexec.diffusion.text import mentions
from graphexec.diffusion.types import EncoderKind
from graphexec.errors import ModelFileError, said

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["find_mentioned", "find_word", "read_embedding"]

SUFFIXES = ("", ".safetensors", ".pt", ".bin")
"""A name may leave these off; the first that is there is taken."""
WIDTHS: Mapping[EncoderKind, int] = {"clip_l": 768, "clip_h": 1024, "clip_g": 1280}
"""Which of a list of unnamed embeddings is whose."""
BUNDLED = "bundle_emb."
"""What the names of embeddings inside a LoRA file begin with."""


def _find(name: str, known: Iterable[str]) -> str | None:
    """The file that a prompt calls `name`, in the embeddings folder or any folder below it; the highest comes first."""
    name = name.replace("\\", "/")
    wanted = {name + suffix: place for place, suffix in enumerate(SUFFIXES)}
    found = [
        (len(above), above, place, file)
        for file in known
        for spelled, place in wanted.items()
        if (above := _above(file, spelled)) is not None
    ]
    return min(found)[-1] if found else None


def find_mentioned(prompt: str, known: Sequence[str]) -> dict[str, str | None]:
    """The embeddings that a prompt names, and the file of each; None where there is none."""
    return {mention.name: find_word(mention.name, known)[0] for mention in mentions(prompt)}


def find_word(word: str, known: Iterable[str]) -> tuple[str | None, str]:
    """The file that a word names, and the commas at its end where they are no part of the name."""
    known = list(known)
    bare = word.rstrip(",")
    found = _find(word, known)
    if found is not None or bare == word:
        return found, ""
    return _find(bare, known), word[len(bare) :]


def read_embedding(path: Path, kind: EncoderKind) -> Tensor:
    """The vectors [N, C] that a file holds for a kind of text encoder; those of another where it has none.

    Raises `ModelFileError` if the file cannot be read. Files that are no safetensors are read without running code.
    """
    try:
        tensor = _pick(_tensors(path), kind).detach().float().clone()  # it may lie in the mapped file
        return tensor.reshape(-1, tensor.shape[-1])
    except (StopIteration, AttributeError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path}: there is no embedding in this file") from error


def _above(file: str, spelled: str) -> tuple[str, ...] | None:
    """The folders above a file that ends in `spelled`."""
    parts, tail = PurePosixPath(file).parts, PurePosixPath(spelled).parts
    return parts[: -len(tail)] if tail and parts[-len(tail) :] == tail else None


def _tensors(path: Path) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from graphexec.diffusion.pickles import load_pickled

    if path.suffix.lower() not in (".safetensors", ".sft"):
        return load_pickled(path, [torch.nn.ParameterDict])  # what the first trainers saved
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path}: the embedding cannot be read ({said(error).splitlines()[0]})") from error


def _pick(held: Any, kind: EncoderKind) -> Tensor:
    import torch

    if isinstance(held, list):
        width = WIDTHS[kind]
        tensors = (tensor for part in held for tensor in part.values())
        return torch.cat([tensor.reshape(-1, width) for tensor in tensors if tensor.shape[-1] == width])
    if "string_to_param" in held:
        return next(iter(held["string_to_param"].values()))
    if kind in held:
        return held[kind]
    bundled = _bundled(held, ".string_to_param.*") or _bundled(held, f".{kind}")
    return torch.cat(bundled) if bundled else next(iter(held.values()))


def _bundled(held: Mapping[str, Tensor], suffix: str) -> list[Tensor]:
    return [tensor for name, tensor in held.items() if name.startswith(BUNDLED) and name.endswith(suffix)]
