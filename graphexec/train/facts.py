"""What of a configuration makes a difference to what is learned: a state is gone on from only if all of it agrees."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from graphexec.train.config import Subset, TrainConfig
from graphexec.train.data.pictures import Data

__all__ = ["facts_of"]


def facts_of(config: TrainConfig, data: Data) -> dict[str, Any]:
    """The settings of a run and its pictures, as JSON; what the loop knows of itself is not among them."""
    files = {"path": config.model.path, "vae": config.model.vae}
    facts = {
        "model": asdict(config.model) | {name: _file(path) for name, path in files.items()},
        "network": asdict(replace(config.network, given=None, weights=None)),
        "noise": asdict(config.noise),
        "objective": asdict(config.objective),
        "pictures": {"count": len(data.pictures), "digest": _digest(data)},
    }
    return json.loads(json.dumps(facts, default=_plain))


def _file(path: Path | None) -> dict[str, Any] | None:
    """What tells whether a file is the same, wherever it lies now."""
    return None if path is None else {"name": path.name, "bytes": path.stat().st_size}


def _digest(data: Data) -> str:
    """Of the pictures' names, captions, places and repeats, and of what their folders say of them."""
    entries = [
        (each.path.name, each.text, each.fit.bucket, each.repeats, each.dataset, _told(each.subset))
        for each in data.pictures
    ]
    sizes = [dataset.batch_size for dataset in data.datasets]
    return hashlib.sha256(json.dumps([entries, sizes], default=_plain).encode()).hexdigest()[:16]


def _told(subset: Subset) -> dict[str, Any]:
    """What a folder says, but not where it lies."""
    return {**asdict(subset), "image_dir": None, "caption_dir": None, "metadata_file": None}


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else repr(value)
