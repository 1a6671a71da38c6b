"""What a training run tells, written to files as it goes on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from graphexec.diffusion.faults import MissingLibrary
from graphexec.errors import OutputError
from graphexec.train.events import Event, Stepped, Validated

__all__ = ["JsonLines", "TensorBoard"]


class JsonLines:
    """Events as lines of JSON at the end of a file, each there as soon as it is told."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", buffering=1, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path}: the log cannot be written ({error.strerror or error})") from error

    def __call__(self, event: Event) -> None:
        """Write an event."""
        self._file.write(json.dumps({"event": type(event).__name__.lower(), **asdict(event)}, default=_plain) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Losses and learning rates for TensorBoard. Raises `MissingLibrary` where that is not installed."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise MissingLibrary(
                "logs for TensorBoard need tensorboard, which is not installed: pip install 'graphexec[train]'"
            ) from error
        self._writer = SummaryWriter(str(folder))

    def __call__(self, event: Event) -> None:
        """Write what there is a curve for."""
        match event:
            case Stepped():
                self._writer.add_scalar("loss", event.loss, event.step)
                for name, rate in event.lr.items():
                    self._writer.add_scalar(f"lr/{name}", rate, event.step)
            case Validated():
                self._writer.add_scalar("loss/validation", event.loss, event.step)
            case _:
                pass

    def close(self) -> None:
        """Write the rest and close."""
        self._writer.close()


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else str(value)
