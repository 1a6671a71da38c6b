"""The caption of one picture in one epoch, made of the text in its file.

The order is that of sd-scripts: prefix and suffix, dropout of the whole caption, wildcards or the first line, the
parts that stay, token warm-up, shuffling, dropout of tags, the secondary separator. Three things are set right:
prefix and suffix go round the line that is taken (there: round the whole file, so that most lines miss one of them);
`keep_tokens_separator` never stays in the caption (there it does unless tags are shuffled); tags without letters, as
after a comma at the end, are dropped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from graphexec.train.config import CaptionRules

__all__ = ["Moment", "caption", "what_varies"]

_BRACES = re.compile(r"\{\{|\}\}|\{((?:[^{}]|\{\{|\}\})++)\}")


@dataclass(frozen=True, slots=True)
class Moment:
    """When a caption is made. Epochs and steps count from 0; `steps` is how many the run has in all."""

    epoch: int = 0
    step: int = 0
    steps: int = 0


def caption(text: str, rules: CaptionRules, moment: Moment, draw: Random) -> str:
    """The caption made of a file's text by `rules`; what is random comes from `draw`."""
    if _dropped(rules, moment, draw):
        return ""
    line = _line(text, rules, draw)
    if _takes_apart(rules, line):
        line = ", ".join(_tags(line, rules, moment, draw))
    return line.replace(rules.secondary_separator, rules.separator) if rules.secondary_separator else line


def what_varies(rules: CaptionRules) -> list[str]:
    """The settings by which a caption differs from epoch to epoch; text that is encoded once forbids them."""
    settings = {
        "shuffle_caption": rules.shuffle,
        "caption_dropout_rate": rules.dropout_rate > 0,
        "caption_dropout_every_n_epochs": rules.dropout_every_n_epochs > 0,
        "caption_tag_dropout_rate": rules.tag_dropout_rate > 0,
        "token_warmup_step": rules.token_warmup_step > 0,
        "enable_wildcard": rules.wildcards,
    }
    return [name for name, used in settings.items() if used]


def _dropped(rules: CaptionRules, moment: Moment, draw: Random) -> bool:
    """Epochs count from 1 here: of every 3, the third is without captions."""
    every = rules.dropout_every_n_epochs
    by_chance = rules.dropout_rate > 0 and draw.random() < rules.dropout_rate
    return by_chance or (every > 0 and (moment.epoch + 1) % every == 0)


def _line(text: str, rules: CaptionRules, draw: Random) -> str:
    lines = [line.strip() for line in text.split("\n") if line.strip()] or [""]
    line = draw.choice(lines) if rules.wildcards else lines[0]
    line = " ".join(part for part in (rules.prefix, line, rules.suffix) if part)
    return _chosen(line, draw) if rules.wildcards else line


def _chosen(line: str, draw: Random) -> str:
    """One of the alternatives of each {a|b}; {{ and }} stand for braces."""

    def choose(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        return draw.choice(match[1].split("|")).replace("{{", "{").replace("}}", "}")

    return _BRACES.sub(choose, line)


def _takes_apart(rules: CaptionRules, line: str) -> bool:
    separated = bool(rules.keep_tokens_separator) and rules.keep_tokens_separator in line
    return separated or rules.shuffle or rules.token_warmup_step > 0 or rules.tag_dropout_rate > 0


def _tags(line: str, rules: CaptionRules, moment: Moment, draw: Random) -> list[str]:
    first, free, last = _parts(line, rules)
    free = free[: _warmed_up(len(free), rules, moment)]
    if rules.shuffle:
        draw.shuffle(free)
    if rules.tag_dropout_rate > 0:
        free = [tag for tag in free if draw.random() >= rules.tag_dropout_rate]
    return [*first, *free, *last]


def _parts(line: str, rules: CaptionRules) -> tuple[list[str], list[str], list[str]]:
    """Tags that stay in front, those that may move, and those that stay at the end."""
    between = rules.keep_tokens_separator
    if between and between in line:
        first, free, last = (_split(part, rules) for part in [*line.split(between, 2), ""][:3])
        return first, free, last
    tags = _split(line, rules)
    return tags[: rules.keep_tokens], tags[rules.keep_tokens :], []


def _split(text: str, rules: CaptionRules) -> list[str]:
    tags: Sequence[str] = text.split(rules.separator)
    return [tag.strip() for tag in tags if tag.strip()]


def _warmed_up(tags: int, rules: CaptionRules, moment: Moment) -> int:
    """How many tags are used by now: from the fewest at step 0 to all of them when the warm-up ends."""
    warmup = rules.token_warmup_step
    last = math.floor(warmup * moment.steps) if warmup < 1 else warmup
    if moment.step >= last:
        return tags
    return max(0, math.floor(moment.step * (tags - rules.token_warmup_min) / last) + rules.token_warmup_min)
