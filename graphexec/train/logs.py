"""What a training run tells, written to files as it goes on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from graphexec.diffusion.faults import MissingLibrary
from graphexec.errors import OutputError
from graphexec.train.aside import aside, set_aside
from graphexec.train.events import Event, Saved, Stepped, Validated

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

__all__ = ["JsonLines", "TensorBoard", "read_curve"]

CURVES = "events.out.tfevents.*"
"""TensorBoard's names for its files."""


class JsonLines:
    """Events as lines of JSON, each in the file as soon as it is told; what is told before the first step waits for it.

    So a run that makes no step leaves no trace, and the log and the state of the run before it stay together. A file
    that is there is gone on with if `append`, else set aside.
    """

    def __init__(self, path: Path, *, append: bool = False) -> None:
        self._path, self._append = path, append
        self._waiting: list[str] = []
        self._file: TextIO | None = None

    def __call__(self, event: Event) -> None:
        """Write an event. Raises `OutputError` with the first step if there can be no file."""
        line = json.dumps({"event": type(event).__name__.lower(), **asdict(event)}, default=_plain) + "\n"
        if self._file is None and isinstance(event, Stepped | Saved):  # one that is resumed at its end saves alone
            self._file = self._opened()
            self._file.writelines(self._waiting)
        if self._file is None:
            self._waiting.append(line)
        else:
            self._file.write(line)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _opened(self) -> TextIO:
        if not self._append:
            set_aside(self._path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a", buffering=1, encoding="utf-8")
            if self._path.read_bytes()[-1:] not in (b"", b"\n"):  # the process was killed while it wrote
                file.write("\n")
            return file
        except OSError as error:
            raise OutputError(f"{self._path}: the log cannot be written ({error.strerror or error})") from error


def read_curve(path: Path, event: type[Stepped] | type[Validated]) -> list[tuple[int, float]]:
    """Steps and losses of all events of a kind in a file of `JsonLines`; of a step told twice the later counts.

    Lines that were not written to their end are left out.
    """
    name, curve = event.__name__.lower(), dict[int, float]()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry["event"] == name:
            curve[entry["step"]] = entry["loss"]
    return sorted(curve.items())


class TensorBoard:
    """Losses and learning rates for TensorBoard, in a folder that is written to from the first step on.

    Curves that are there are gone on with if `append`, else set aside. Raises `MissingLibrary` where TensorBoard is not
    installed.
    """

    def __init__(self, folder: Path, *, append: bool = False) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise MissingLibrary(
                "logs for TensorBoard need tensorboard, which is not installed: pip install 'graphexec[train]'"
            ) from error
        self._folder, self._append = folder, append
        self._open = SummaryWriter
        self._writer: SummaryWriter | None = None

    def __call__(self, event: Event) -> None:
        """Write what there is a curve for. Raises `OutputError` with the first step if there can be no files."""
        match event:
            case Stepped():
                self._writer = self._writer or self._opened(event.step)
                self._writer.add_scalar("loss", event.loss, event.step)
                for name, rate in event.lr.items():
                    self._writer.add_scalar(f"lr/{name}", rate, event.step)
            case Validated() if self._writer is not None:
                self._writer.add_scalar("loss/validation", event.loss, event.step)
            case _:
                pass

    def close(self) -> None:
        """Write the rest and close."""
        if self._writer is not None:
            self._writer.close()

    def _opened(self, step: int) -> SummaryWriter:
        """What an interrupted run wrote from the first step on that is now to come does not count."""
        try:
            if not self._append:
                _set_curves_aside(self._folder)
            return self._open(str(self._folder), purge_step=step if self._append else None)
        except OSError as error:
            raise OutputError(f"{self._folder}: curves cannot be written ({error.strerror or error})") from error


def _set_curves_aside(folder: Path) -> None:
    """Move TensorBoard's files, and nothing else that may lie in the folder; those set aside before go."""
    if found := sorted(folder.glob(CURVES)):
        kept = aside(folder)
        kept.mkdir(exist_ok=True)
        for old in kept.glob(CURVES):
            old.unlink()
        for file in found:
            file.replace(kept / file.name)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else str(value)
