"""The tags that a tagger knows, and which of them a picture gets in which order."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from graphexec.errors import ModelFileError
from graphexec.train.captioning.errors import CaptionError

__all__ = ["Tag", "TagRules", "Tags", "parse_replacements", "read_tags"]

Kind = Literal["general", "character", "rating"]
_KINDS: Mapping[str, Kind] = {"4": "character", "9": "rating"}
_WORD = re.compile(r"[^\W_]{2}")


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag that a model knows."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class TagRules:
    """Which tags a picture gets, and how they are written.

    Order: those of `always_first`, the rating if it comes first, then by kind or as the model has them. Names in
    `undesired`, `always_first` and `replacements` may be written with underscores or spaces.
    """

    general_threshold: float = 0.35
    character_threshold: float = 0.35
    undesired: Sequence[str] = ()
    always_first: Sequence[str] = ()
    replacements: Mapping[str, str] = field(default_factory=dict[str, str])
    remove_underscore: bool = False
    character_first: bool = False
    expand_character: bool = False
    rating: Literal["first", "last"] | None = None


class Tags:
    """The tags of a model in the order of its outputs, as rules want them written."""

    def __init__(self, tags: Sequence[Tag], rules: TagRules) -> None:
        self.tags = tags
        self.rules = rules
        self._undesired = {_plain(name) for name in rules.undesired}
        self._first = [_plain(name) for name in rules.always_first]
        self._replacements = {_plain(name): text for name, text in rules.replacements.items()}

    def unknown(self) -> Iterator[str]:
        """What is said of names in the rules that the model does not know."""
        known = {_plain(text) for tag in self.tags for text in (tag.name, *self._written(tag))}
        rules = self.rules
        for name in (*rules.undesired, *rules.always_first, *rules.replacements):
            if _plain(name) not in known:
                close = get_close_matches(_plain(name), known, n=1)
                yield f"the model has no tag {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")

    def chosen(self, confidences: Sequence[float]) -> list[str]:
        """The tags of a picture, given how sure the model is of each, 0..1."""
        pairs = list(zip(self.tags, confidences, strict=True))
        general = self._above(pairs, "general", self.rules.general_threshold)
        character = self._above(pairs, "character", self.rules.character_threshold)
        found = [*character, *general] if self.rules.character_first else [*general, *character]
        rating = self._rating(pairs)
        found = [*rating, *found] if self.rules.rating == "first" else [*found, *rating]
        return self._ordered(dict.fromkeys(found))

    def _above(self, pairs: Iterable[tuple[Tag, float]], kind: Kind, threshold: float) -> list[str]:
        return [text for tag, sure in pairs if tag.kind == kind and sure >= threshold for text in self._wanted(tag)]

    def _rating(self, pairs: Iterable[tuple[Tag, float]]) -> list[str]:
        ratings = [(sure, tag) for tag, sure in pairs if tag.kind == "rating"]
        if self.rules.rating is None or not ratings:
            return []
        return list(self._wanted(max(ratings, key=lambda pair: pair[0])[1]))

    def _wanted(self, tag: Tag) -> Iterator[str]:
        for text in self._written(tag):
            if not self._undesired & {_plain(tag.name), _plain(text)}:
                yield text

    def _written(self, tag: Tag) -> Iterator[str]:
        """One text, or two: `name_(series)` may become `name` and `series`."""
        if (replaced := self._replacements.get(_plain(tag.name))) is not None:
            yield replaced
            return
        for name in _expanded(tag.name) if self.rules.expand_character and tag.kind == "character" else (tag.name,):
            text = _spaced(name) if self.rules.remove_underscore else name
            yield self._replacements.get(_plain(text), text)

    def _ordered(self, found: Iterable[str]) -> list[str]:
        """kohya turns the order of `always_first_tags` round; here they stand as they are given."""
        found = list(found)
        first = [text for name in self._first for text in found if _plain(text) == name]
        return list(dict.fromkeys([*first, *found]))


def _plain(name: str) -> str:
    return name.strip().replace("_", " ")


def _spaced(name: str) -> str:
    """With spaces for underscores, except in faces like `(o)_(o)`, which have no two letters together."""
    return name.replace("_", " ") if _WORD.search(name) else name


def _expanded(name: str) -> tuple[str, ...]:
    """`name_(costume)_(series)` → `name_(costume)` and `series`."""
    head, bracket, series = name.removesuffix(")").rpartition("(")
    return (head.removesuffix("_"), series) if name.endswith(")") and bracket and head else (name,)


def parse_replacements(text: str) -> dict[str, str]:
    r"""`old,new;old,new`, where `\,` and `\;` stand for themselves; raises CaptionError for anything else."""
    replacements: dict[str, str] = {}
    for pair in filter(str.strip, _split(text, ";")):
        names = [re.sub(r"\\([,;])", r"\1", name).strip() for name in _split(pair, ",")]
        if len(names) != 2 or not names[0]:
            raise CaptionError(f"{pair.strip()!r} is no replacement of a tag: write it as `old,new`")
        replacements[names[0]] = names[1]
    return replacements


def _split(text: str, separator: str) -> list[str]:
    return re.split(rf"(?<!\\){separator}", text)


def read_tags(file: Path) -> list[Tag]:
    """The tags of a `selected_tags.csv`; raises ModelFileError.

    Category 4 is characters, 9 ratings; everything else (0, and the artists or copyrights of some models) is general.
    """
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
            tags = [Tag(row["name"], _KINDS.get(row["category"], "general")) for row in rows]
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise ModelFileError(f"{file} is no table of tags with the columns name and category: {error}") from error
    if any(None in row.values() for row in rows):
        raise ModelFileError(f"{file} is cut off in the middle of a line; download it again")
    return tags
