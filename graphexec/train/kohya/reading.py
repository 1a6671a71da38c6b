"""Settings read from files and command lines, and made into one `TrainConfig`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from graphexec.train.config import TrainConfig, TrainFamily
from graphexec.train.documents import format_of, read_document
from graphexec.train.kohya.base import read_base
from graphexec.train.kohya.build import build
from graphexec.train.kohya.command import parse_command
from graphexec.train.kohya.faults import ConfigError, Fault, Faults
from graphexec.train.kohya.settings import OPTIONS, Settings, checked
from graphexec.train.kohya.traps import look_for_traps

__all__ = ["Reading", "read_command", "read_file"]

OVERRIDES = "--set"
MODEL_FILES = {"pretrained_model_name_or_path": "checkpoints", "vae": "vae", "network_weights": "loras"}
"""Settings that may name a file of a models folder, as workflows do, instead of a path."""

Find = Callable[[str, str], Path | None]
"""Where the file lies that a workflow would call so: (kind of the folder, name)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Settings that can be followed, and what should be known about them."""

    config: TrainConfig
    faults: tuple[Fault, ...]
    """Warnings and notes."""


@dataclass(slots=True)
class _Raw:
    """Settings as they are written, each with where."""

    values: dict[str, object]
    sources: dict[str, str]

    def add(self, values: Mapping[str, object], source: str) -> None:
        self.values |= values
        self.sources |= dict.fromkeys(values, source)


def nowhere(kind: str, name: str) -> None:
    """Finds nothing: every name is a path."""


def read_file(path: Path, overrides: Mapping[str, str] | None = None, find: Find = nowhere) -> Reading:
    """The configuration in a TOML (flat or in sections) or JSON file; `overrides` replace what it says.

    A model that is not at its path is looked for by `find`. Raises `ConfigError` with everything that is wrong.
    """
    faults, raw = Faults(), _Raw({}, {})
    raw.add(_document(path, faults), str(path))
    faults.check()
    return _reading(raw, overrides, str(path), faults, None, find)


def read_command(text: str, overrides: Mapping[str, str] | None = None, find: Find = nowhere) -> Reading:
    """The configuration in a command line that starts `train_network.py` or `sdxl_train_network.py`.

    A model that is not at its path is looked for by `find`. Raises `ConfigError` with everything that is wrong.
    """
    faults, raw = Faults(), _Raw({}, {})
    command = parse_command(text, faults)
    if (file := command.values.pop("config_file", None)) is not None:
        path = Path(str(file))
        path = path if path.suffix == ".toml" else path.with_name(path.name + ".toml")
        raw.add(_document(path, faults), str(path))
    faults.check()
    raw.add(command.values, command.source)
    return _reading(raw, overrides, command.source, faults, command.family, find)


def _reading(
    raw: _Raw,
    overrides: Mapping[str, str] | None,
    main: str,
    faults: Faults,
    family: TrainFamily | None,
    find: Find,
) -> Reading:
    if overrides:
        raw.add(overrides, OVERRIDES)
    values = _found(checked(raw.values, raw.sources, OPTIONS, faults), find)
    settings = Settings(values, raw.sources, main, faults)
    base = read_base(settings, family)
    config = build(settings, base)
    if config is None:
        raise ConfigError(faults.found)
    look_for_traps(settings, config, base)
    faults.check()
    return Reading(config, tuple(faults.found))


def _found(values: Mapping[str, Any], find: Find) -> dict[str, Any]:
    """The settings with the paths of models that are named as workflows name them."""
    found = dict(values)
    for key, kind in MODEL_FILES.items():
        path = found.get(key)
        if isinstance(path, Path) and not path.is_absolute() and not path.exists():
            found[key] = find(kind, path.as_posix()) or path
    return found


def _document(path: Path, faults: Faults) -> dict[str, object]:
    """The settings of a file, sections laid flat."""
    try:
        document = read_document(path)
    except OSError as error:
        faults.missing(str(path), "", f"cannot be read: {error.strerror}")
        return {}
    except ValueError as error:
        faults.error(f"not_{format_of(path).lower()}", str(path), "", str(error))
        return {}
    if not isinstance(document, dict):
        faults.error("wrong_value", str(path), "", "expected an object of settings")
        return {}
    return dict(_flat(cast("dict[str, object]", document), faults, str(path)))


def _flat(document: Mapping[str, object], faults: Faults, source: str) -> Iterable[tuple[str, object]]:
    if "datasets" in document:
        faults.error(
            "dataset_toml",
            source,
            "datasets",
            "this is a dataset TOML, which says what to train on but not how",
            "name it with dataset_config in a file of settings",
        )
        return
    seen = set[str]()
    for section, value in document.items():
        for name, each in cast("dict[str, object]", value if isinstance(value, dict) else {section: value}).items():
            if name in seen:
                faults.error("contradiction", source, name, "is set in several sections", "keep one")
            seen.add(name)
            yield name, each
