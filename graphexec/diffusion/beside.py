"""Files that lie beside a file of weights and are opened with it.

Those are the parts that an index lists, as diffusers and transformers save large networks, and PEFT's configuration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphexec.errors import ModelFileError

__all__ = ["INDEX_SUFFIX", "beside", "is_index", "parts_of", "read_index", "whole_of"]

INDEX_SUFFIX = ".safetensors.index.json"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""What PEFT calls a LoRA, and the file beside it that says its alpha."""

_PART = re.compile(r"(.+)-\d{5}-of-\d{5}\.safetensors")


def is_index(path: Path) -> bool:
    """Whether a path names an index of weights in several files."""
    return path.name.endswith(INDEX_SUFFIX)


def whole_of(path: Path) -> Path:
    """The index that a file is listed in by its name (`x-00001-of-00002.safetensors`); the path itself if none is."""
    match = _PART.fullmatch(path.name)
    index = path.with_name(f"{match[1]}{INDEX_SUFFIX}") if match else path
    return index if index.is_file() else path


def parts_of(path: Path) -> list[Path]:
    """A file of weights and what belongs to it; OSError if its folder cannot be read."""
    if is_index(path):
        return [path, *sorted(part for part in path.parent.iterdir() if _is_part(part.name, path))]
    config = path.with_name(ADAPTER_CONFIG)
    return [path, config] if path.name == ADAPTER and config.is_file() else [path]


def beside(path: Path) -> list[Path]:
    """The other files that are opened where this one is named."""
    return [part for part in parts_of(whole_of(path)) if part != path]


def read_index(path: Path) -> Mapping[str, Path]:
    """The file that holds each tensor; `ModelFileError` for a damaged index, or one that lists other files."""
    try:
        tree: Any = json.loads(path.read_bytes())
        places = {str(name): str(part) for name, part in tree["weight_map"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"this is no index of weights in several files ({error}); download it again") from error
    strange = next((part for part in places.values() if not _is_part(part, path)), None)
    if strange is not None:
        expected = f"{path.name.removesuffix(INDEX_SUFFIX)}-00001-of-00002.safetensors"
        raise ModelFileError(
            f"the index lists {strange!r}, which is no part of it; its parts are called like {expected}"
        )
    return {name: path.with_name(part) for name, part in places.items()}


def _is_part(name: str, index: Path) -> bool:
    match = _PART.fullmatch(name)
    return match is not None and match[1] == index.name.removesuffix(INDEX_SUFFIX)
