"""Where captions are written, and what becomes of those that are there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from graphexec.train.captioning.errors import CaptionError

__all__ = ["CaptionFiles", "Existing"]

Existing = Literal["keep", "overwrite", "append"]

INSIDE = re.compile(r"[\w'-]{2}")
"""Two letters of the same word."""


@dataclass(frozen=True, slots=True)
class CaptionFiles:
    """The caption files beside pictures.

    `existing` says what becomes of captions that are there; appending adds the parts between separators that are new.
    A prefix or postfix is parted from the text by a space and stands once, however often captions are made.
    """

    extension: str = ".txt"
    existing: Existing = "keep"
    prefix: str = ""
    postfix: str = ""
    separator: str = ", "

    def of(self, picture: Path) -> Path:
        """The caption file of a picture."""
        return picture.with_suffix(self.extension)

    def todo(self, pictures: Iterable[Path]) -> list[Path]:
        """The pictures that are to get captions; raises CaptionError where two of them share a file."""
        owners: dict[Path, Path] = {}
        for picture in pictures:
            other = owners.setdefault(self.of(picture), picture)
            if other != picture:
                raise CaptionError(f"{other} and {picture} would share {self.of(picture)}: rename one of them")
        return [picture for file, picture in owners.items() if self.existing != "keep" or not file.exists()]

    def text(self, picture: Path, caption: str) -> str:
        """What is to stand in a picture's file, given its new caption."""
        there = self._existing(self.of(picture))
        parts = [*there, *(part for part in self.parts(caption) if part not in there)] if there else [caption]
        return self._wrapped(self.separator.join(parts))

    def _existing(self, file: Path) -> Sequence[str]:
        if self.existing != "append" or not file.exists():
            return ()
        try:
            return self.parts(file.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError as error:
            raise CaptionError(f"{file} is not UTF-8, so nothing can be appended to it: {error}") from error

    def parts(self, text: str) -> list[str]:
        """What stands between separators."""
        return [part.strip() for part in text.split(self.separator.strip() or None) if part.strip()]

    def _wrapped(self, text: str) -> str:
        has_prefix = text.startswith(self.prefix) and not _cuts_a_word(text, len(self.prefix))
        has_postfix = text.endswith(self.postfix) and not _cuts_a_word(text, len(text) - len(self.postfix))
        before, after = "" if has_prefix else self.prefix, "" if has_postfix else self.postfix
        return " ".join(part for part in (before, text, after) if part)


def _cuts_a_word(text: str, at: int) -> bool:
    return INSIDE.fullmatch(text, max(0, at - 1), at + 1) is not None
