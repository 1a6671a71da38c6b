"""Where captions are written, and what becomes of those that are there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from graphexec.train.captioning.errors import CaptionError
from graphexec.train.data.captions import read_text
from graphexec.train.data.folders import OTHER_KINDS, PICTURES

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
        """The pictures that are to get captions.

        Raises CaptionError where two of them share a file or would be written over, DataError for a file that nothing
        can be appended to.
        """
        if Path(f"caption{self.extension}").suffix.lower() in (*PICTURES, *OTHER_KINDS):
            raise CaptionError(f"captions in {self.extension} files would be written over pictures: use another ending")
        owners: dict[Path, Path] = {}
        for picture in pictures:
            other = owners.setdefault(self.of(picture), picture)
            if other != picture:
                raise CaptionError(f"{other} and {picture} would share {self.of(picture)}: rename one of them")
        for file in owners:
            self._existing(file)
        return [picture for file, picture in owners.items() if self.existing != "keep" or not file.exists()]

    def text(self, picture: Path, caption: str) -> str:
        """What is to stand in a picture's file, given its new caption."""
        there = self._existing(self.of(picture))
        parts = [*there, *(part for part in self.parts(caption) if part not in there)] if there else [caption]
        return self._wrapped(self.separator.join(parts))

    def _existing(self, file: Path) -> Sequence[str]:
        """The parts of what stands in a file that is appended to, between prefix and postfix."""
        if self.existing != "append" or not file.exists():
            return ()
        text = read_text(file).strip()
        text = text[len(self.prefix) :] if self._has_prefix(text) else text
        return self.parts(text[: len(text) - len(self.postfix)] if self._has_postfix(text) else text)

    def parts(self, text: str) -> list[str]:
        """What stands between separators."""
        return [part.strip() for part in text.split(self.separator.strip() or None) if part.strip()]

    def _wrapped(self, text: str) -> str:
        before = "" if self._has_prefix(text) else self.prefix
        after = "" if self._has_postfix(text) else self.postfix
        return " ".join(part for part in (before, text, after) if part)

    def _has_prefix(self, text: str) -> bool:
        return text.startswith(self.prefix) and not _cuts_a_word(text, len(self.prefix))

    def _has_postfix(self, text: str) -> bool:
        return text.endswith(self.postfix) and not _cuts_a_word(text, len(text) - len(self.postfix))


def _cuts_a_word(text: str, at: int) -> bool:
    return INSIDE.fullmatch(text, max(0, at - 1), at + 1) is not None
