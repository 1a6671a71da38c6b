"""PEFT's configuration of a LoRA, alpha above all: in the file's metadata (diffusers), or in a file beside it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from graphexec.errors import ModelFileError
from graphexec.lora.header import Header, read_header

__all__ = ["PeftSettings", "read_lora_header"]

KEY = "lora_adapter_metadata"
PATTERNS = {"alpha_pattern": ("lora_alpha", "alpha"), "rank_pattern": ("r",)}
NUMBERS = ("lora_alpha", "alpha", "r", "num_cayley_neumann_terms")
"""Settings that are computed with."""

BASE_CHANGING = ("pissa", "olora", "corda", "lora_ga", "loftq")
"""Ways to begin that take out of a network's weights what the LoRA starts with."""

WRAPPED = "base_model.model."
"""What PEFT puts before the names of a network's modules; its patterns know nothing of it."""

ADAPTER, CONFIGURATION = "adapter_model.safetensors", "adapter_config.json"
SOURCES = {KEY: f"the metadata entry {KEY!r}", CONFIGURATION: f"{CONFIGURATION} beside it"}
"""Where the configuration is, by its name among a header's metadata."""


def read_lora_header(path: Path) -> Header:
    """The header of a LoRA file; the configuration that PEFT saves beside it counts where it holds none itself.

    `ModelFileError` as of `read_header`, or if the configuration cannot be read.
    """
    header = read_header(path)
    if path.name != ADAPTER or KEY in header.metadata:
        return header
    config = path.with_name(CONFIGURATION)
    try:
        text = config.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return header
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{config}: PEFT's configuration cannot be read ({error}); it holds alpha") from error
    return replace(header, metadata={**header.metadata, CONFIGURATION: text})


class PeftSettings:
    """PEFT's configuration of each module. Raises `ModelFileError` if the metadata cannot be read."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        key = next((key for key in SOURCES if key in metadata), None)
        self._source = SOURCES[key] if key else ""
        self._entries = _parse(metadata[key], self._source) if key else {}
        self._networks: dict[str, dict[str, Any]] = {}

    def of(self, module: str) -> Mapping[str, Any]:
        """The configuration of one module, with the alpha and rank that a pattern gives it."""
        if not self._entries:
            return {}
        if module.startswith(WRAPPED):
            network, inner = "", module.removeprefix(WRAPPED)
        else:
            network, _, inner = module.partition(".")
        settings = self._network(network) or self._network("")
        found = settings | dict(_by_pattern(settings, inner))
        strange = next((name for name in NUMBERS if not _is_number(found.get(name))), None)
        if strange is not None:
            raise ModelFileError(
                f"{self._source} says {found[strange]!r:.40} for {strange!r} of {module!r}, which is no number"
            )
        return found

    def _network(self, name: str) -> dict[str, Any]:
        if name not in self._networks:
            start = f"{name}." if name else ""
            found = {key.removeprefix(start): value for key, value in self._entries.items() if key.startswith(start)}
            self._networks[name] = {key: value for key, value in found.items() if "." not in key}
        return self._networks[name]

    @property
    def initialisation(self) -> str | None:
        """The way to begin that changed the weights under the LoRA, as PEFT calls it; None if they are as they were.

        Once PEFT has converted such a file for weights that are as they were, its configuration does not say it.
        """
        told = (value for key, value in self._entries.items() if key.rpartition(".")[2] == "init_lora_weights")
        return next((way for way in told if isinstance(way, str) and way.lower().startswith(BASE_CHANGING)), None)


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        entries: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{source} is not JSON ({error}); it holds alpha") from error
    if not isinstance(entries, dict):
        raise ModelFileError(f"{source} is not a JSON object; it holds alpha")
    return cast("dict[str, Any]", entries)


def _is_number(value: object) -> bool:
    return value is None or (type(value) in (int, float) and abs(cast("float", value)) <= sys.float_info.max)


def _by_pattern(settings: Mapping[str, Any], module: str) -> list[tuple[str, Any]]:
    """PEFT's patterns name a module by its end, or by a regular expression for it."""
    found: list[tuple[str, Any]] = []
    for pattern, names in PATTERNS.items():
        values = settings.get(pattern)
        for key, value in cast("dict[str, Any]", values).items() if isinstance(values, dict) else ():
            if _matches(key, module):
                found += [(name, value) for name in names]
                break
    return found


def _matches(key: str, module: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({key})$", module) is not None
    except re.error:
        return module == key or module.endswith(f".{key}")
