"""All that a training run needs to go on as if it had never stopped, in one file written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from graphexec.diffusion.files import write_whole
from graphexec.diffusion.save import Saved as SavedTensor
from graphexec.diffusion.save import safetensors_chunks, widest_first
from graphexec.train.faults import StateError
from graphexec.train.trees import join, split

__all__ = ["Facts", "read_state", "refuse_difference", "write_state"]

Facts = Mapping[str, Any]
"""What a run was configured with, as far as it makes a difference: JSON."""

FORMAT = "graphexec training state 1"
KEY = "graphexec"


def write_state(path: Path, values: Mapping[str, Any], facts: Facts) -> None:
    """Write nested values with tensors, and the configuration that they belong to. Raises `OutputError`.

    Tensors come to the host one after another, so that the whole state is never there twice.
    """
    tensors: dict[str, Tensor] = {}
    tree = split(dict(values), "", tensors)
    header = json.dumps({"format": FORMAT, "facts": facts, "values": tree})
    saved = [SavedTensor(name, each.dtype, tuple(each.shape), each.cpu) for name, each in tensors.items()]
    write_whole(path, safetensors_chunks(widest_first(saved), {KEY: header}), parents=True)


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file of state holds."""

    values: dict[str, Any]
    facts: Facts


def read_state(path: Path) -> Saved:
    """What `write_state` wrote; `StateError` if the file is no such thing."""
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get(KEY, "{}"))
            if header.get("format") != FORMAT:
                raise StateError(f"{path}: this is no training state that graphexec saved")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise StateError(f"{path}: the state cannot be read ({error})") from error
    return Saved(join(header["values"], tensors), header["facts"])


def refuse_difference(saved: Facts, now: Facts, path: Path) -> None:
    """Raise `StateError` with every setting in which the state's configuration and this one differ."""
    before, after = dict(_flat(saved)), dict(_flat(json.loads(json.dumps(now))))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if names:
        listed = "\n".join(f"  {name}: {_shown(before, name)} then, {_shown(after, name)} now" for name in names)
        raise StateError(
            f"{path}: the state belongs to another configuration, so going on would give neither run:\n{listed}\n"
            "resume with the configuration that it was saved under, or start anew"
        )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _shown(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name]) if name in values else "not set"
