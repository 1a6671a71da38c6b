"""Where the weights of a recipe are: in a file as it was when the recipe was made, or in bytes that lie in no file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from graphexec.diffusion.beside import parts_of
from graphexec.errors import unreadable
from graphexec.lora.header import in_file

__all__ = ["LoraModel", "LoraSource", "WeightsFile"]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class WeightsFile:
    """A file of weights as it was when the recipe was made; of an index, that and its parts together."""

    path: Path
    size: int
    mtime_ns: int
    inodes: tuple[int, ...]
    """Two files of equal size and time that change places are told apart by these."""

    @classmethod
    def of(cls, path: Path) -> Self:
        """The file as it is now; `ModelFileError` if there is none."""
        with in_file(path):
            try:
                return cls(path, *_state(path))
            except OSError as error:
                raise unreadable(error) from error

    def is_current(self) -> bool:
        """Whether the file is still there and unchanged."""
        try:
            return _state(self.path) == (self.size, self.mtime_ns, self.inodes)
        except OSError:
            return False


def _state(path: Path) -> tuple[int, int, tuple[int, ...]]:
    """Bytes, time of change, and the inode of each part."""
    stats = [part.stat() for part in parts_of(path)]
    inodes = tuple(stat.st_ino for stat in stats)
    return sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats), inodes


@dataclass(frozen=True, slots=True, weakref_slot=True)
class LoraModel:
    """A LoRA that was trained and lies in no file yet: the bytes that a safetensors file of it holds."""

    content: bytes = field(repr=False)

    @property
    def path(self) -> Path:
        """What messages call it."""
        return Path("the trained LoRA")

    def is_current(self) -> bool:
        """Always: nothing can change it."""
        return True


LoraSource = WeightsFile | LoraModel
"""Where the tensors of a LoRA are."""
