"""Captions for many pictures, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from graphexec.train.captioning.pictures import Picture, read_picture
from graphexec.train.data.faults import DataError

__all__ = ["Captioned", "Captioner", "Unreadable", "caption"]


class Captioner(Protocol):
    """What looks at pictures and says what is on them."""

    def captions(self, pictures: Sequence[Picture]) -> list[str]:
        """The caption of each picture."""
        ...


@dataclass(frozen=True, slots=True)
class Captioned:
    """A picture and what is on it."""

    picture: Path
    caption: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A picture that could not be read, and why."""

    picture: Path
    reason: str


def caption(
    folder: Path, pictures: Sequence[Path], captioner: Captioner, batch_size: int
) -> Iterator[Captioned | Unreadable]:
    """The caption of each picture in its turn; one that cannot be read is named and holds nothing up."""
    for start in range(0, len(pictures), batch_size):
        readable: dict[Path, Picture] = {}
        for path in pictures[start : start + batch_size]:
            try:
                readable[path] = Picture(path.relative_to(folder).as_posix(), read_picture(path))
            except DataError as error:
                yield Unreadable(path, str(error))
        if readable:
            texts = captioner.captions(list(readable.values()))
            yield from (Captioned(path, text) for path, text in zip(readable, texts, strict=True))
