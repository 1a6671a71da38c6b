"""Command lines that start sd-scripts: `accelerate launch … train_network.py --option=value …`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from graphexec.train.config import TrainFamily
from graphexec.train.kohya.faults import Faults
from graphexec.train.kohya.keys import FOLLOWED

__all__ = ["Command", "parse_command"]

SCRIPTS: Mapping[str, TrainFamily] = {"train_network.py": "sd15", "sdxl_train_network.py": "sdxl"}
SOURCE = "command line"
CONTINUED = re.compile(r"[\\^`]\r?\n")
"""How a line goes on: in a shell, in Windows' command prompt, in PowerShell."""
SEPARATOR = re.compile(r"""(?P<quoted>"(?:\\.|[^"\\])*"|'[^']*')|\\(?=[\w.])""")
"""A backslash that is part of a path, as it escapes nothing; what is quoted is matched to be left alone."""
LISTS = frozenset(name for name, key in FOLLOWED.items() if key.kind in ("words", "numbers")) | {
    "base_weights",
    "base_weights_multiplier",
}


@dataclass(frozen=True, slots=True)
class Command:
    """What a command line says: options of the script, and the family that the script is for."""

    values: dict[str, object]
    family: TrainFamily | None
    source: str = SOURCE


def parse_command(text: str, faults: Faults) -> Command:
    """The options after the script's name; what stands before it belongs to the launcher and is left out."""
    try:
        words = shlex.split(_as_in_a_shell(text))
    except ValueError as error:
        faults.error("not_a_command", SOURCE, "", f"this is no command line: {error}")
        return Command({}, None)
    at = next((place for place, word in enumerate(words) if word.endswith(".py")), None)
    script = PurePath(words[at].replace("\\", "/")).name if at is not None else None
    if script is not None and script not in SCRIPTS:
        faults.error(
            "refused_script",
            SOURCE,
            script,
            "is another training than of LoRAs for Stable Diffusion 1, 2 or XL",
            "use a line of train_network.py or sdxl_train_network.py",
        )
    options = words[at + 1 :] if at is not None else words
    return Command(_options(options, faults), SCRIPTS.get(script or ""))


def _as_in_a_shell(text: str) -> str:
    """On one line, with the backslashes of Windows' paths kept."""
    line = CONTINUED.sub(" ", text)
    return SEPARATOR.sub(lambda found: found["quoted"] or r"\\", line)


def _options(words: Sequence[str], faults: Faults) -> dict[str, object]:
    found: dict[str, object] = {}
    place = 0
    while place < len(words):
        word, place = words[place], place + 1
        if not word.startswith("--"):
            faults.error(
                "stray_word", SOURCE, word, "does not belong to an option", "put quotes around values with spaces"
            )
            continue
        name, equals, value = word[2:].partition("=")
        following = _values(words, place)
        place += 0 if equals else len(following) if name in LISTS else min(1, len(following))
        found[name.replace("-", "_")] = _value(name, value if equals else None, following)
    return found


def _values(words: Sequence[str], place: int) -> list[str]:
    """The words up to the next option."""
    end = next((at for at in range(place, len(words)) if words[at].startswith("--")), len(words))
    return list(words[place:end])


def _value(name: str, inline: str | None, following: Sequence[str]) -> object:
    if inline is not None:
        return inline
    if name in LISTS:
        return list(following)
    return following[0] if following else True
