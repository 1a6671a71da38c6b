"""Where a run's files go, when they are due and which of them stay."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from graphexec.diffusion.files import part_of
from graphexec.errors import OutputError
from graphexec.train.aside import EARLIER, aside, set_aside
from graphexec.train.config import Saving
from graphexec.train.faults import StateError, TrainingError
from graphexec.train.loop import Moment

__all__ = ["Checkpoints", "StateFile", "claimed", "due", "find_state", "remove_halves"]

STATE_SUFFIX = ".state"
STATE_SECONDS = 120.0
"""How long a run may go on without its state being saved."""
SHARE = 20
"""How many times longer than saving it takes a run goes on at least between two states that nothing else asks for."""


def due(moment: Moment, every_n_steps: int | None, every_n_epochs: int | None) -> bool:
    """Whether something that is done every so often is to be done now."""
    if moment.ends_epoch:
        return bool(every_n_epochs) and moment.epoch % (every_n_epochs or 1) == 0
    return bool(every_n_steps) and moment.step % (every_n_steps or 1) == 0


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The LoRA files of a run, named as sd-scripts names them."""

    saving: Saving

    @property
    def last(self) -> Path:
        """The file of the end."""
        return self.saving.lora

    def at(self, moment: Moment) -> Path:
        """The file of a moment."""
        return self._by_epoch(moment.epoch) if moment.ends_epoch else self._by_step(moment.step)

    def outdated(self, moment: Moment) -> Iterator[Path]:
        """The file that goes when that of a moment was saved, so that only the newest of its kind stay."""
        saving = self.saving
        if moment.ends_epoch:
            now, every, kept = moment.epoch, saving.every_n_epochs, saving.keep_last_epochs
        else:
            now, every, kept = moment.step, saving.every_n_steps, saving.keep_last_steps
        past = now - every * kept if every and kept else 0
        if past > 0:
            yield self._by_epoch(past) if moment.ends_epoch else self._by_step(past)

    def _by_epoch(self, epoch: int) -> Path:
        return self.last.with_name(f"{self.saving.output_name}-{epoch:06d}.safetensors")

    def _by_step(self, step: int) -> Path:
        return self.last.with_name(f"{self.saving.output_name}-step{step:08d}.safetensors")


@dataclass(slots=True)
class StateFile:
    """The one file of a run's state, which is always that of the newest save."""

    saving: Saving
    clock: Callable[[], float] = time.monotonic
    _saved: float = field(init=False)
    _took: float = field(default=0.0, init=False)
    _is_anothers: bool = field(init=False)

    def __post_init__(self) -> None:
        resumed = self.saving.resume
        self._is_anothers = self.path.exists() and not (resumed and self.path.samefile(find_state(resumed)))
        self._saved = self.clock()

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.saving.output_dir / f"{self.saving.output_name}{STATE_SUFFIX}"

    def is_due(self) -> bool:
        """Whether so much was done since the last time that it should not be lost."""
        return self.saving.state and self.clock() - self._saved > max(STATE_SECONDS, SHARE * self._took)

    @contextmanager
    def written(self) -> Generator[Path]:
        """Where the block is to write the state: what would be in its way is out of it. Raises `OutputError`."""
        self._make_room()
        began = self.clock()
        yield self.path
        self._saved = self.clock()
        self._took = self._saved - began

    def warning(self) -> str | None:
        """What should be known before training: that there is a state already, which is not gone on from."""
        if not self._is_anothers or not (self.saving.state or self.saving.state_at_end):
            return None
        kept = aside(self.path).name
        return f"{self.path} holds an earlier run's state; --resume goes on with it, else it is kept as {kept}"

    def _make_room(self) -> None:
        """Set the state of an earlier run aside."""
        if self._is_anothers:
            set_aside(self.path)
            self._is_anothers = False


@contextmanager
def claimed(saving: Saving) -> Generator[None]:
    """The files of a run's name are its own for the length of the block; a run that is killed lets go of them too.

    Raises `TrainingError` while another run has them.
    """
    mark = saving.output_dir / f".{saving.output_name}.lock"
    lock = FileLock(mark)
    try:
        saving.output_dir.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise TrainingError(
            f"another training is writing {saving.lora}: wait until it has ended, or set another output_name"
        ) from None
    except OSError as error:
        raise OutputError(f"{saving.output_dir}: cannot be written ({error.strerror or error})") from error
    try:
        yield
    finally:
        with suppress(OSError):
            mark.unlink()
        lock.release()


def remove_halves(saving: Saving) -> None:
    """Remove what runs of this name that were killed left half written: LoRAs and states."""
    made = re.compile(rf"{re.escape(saving.output_name)}(\.state|(-\d{{6,}}|-step\d{{8,}})?\.safetensors)")
    for part in saving.output_dir.glob(part_of(Path("*"), "*").name):
        if made.fullmatch(part.name[1:].rsplit(".", 2)[0]):
            with suppress(OSError):
                part.unlink()


def find_state(place: Path) -> Path:
    """The state to go on from: a file, or the only one in a folder that is not set aside. Raises `StateError`."""
    if not place.is_dir():
        return place
    found = sorted(path for path in place.glob(f"*{STATE_SUFFIX}") if Path(path.stem).suffix != EARLIER)
    if len(found) == 1:
        return found[0]
    listed = f"{len(found)} of them: {', '.join(path.name for path in found)}; name one" if found else "none there"
    raise StateError(f"{place}: a folder with one training state (*{STATE_SUFFIX}) is needed, but there are {listed}")
