"""sd-scripts' sample prompts: lines like `a cat --n blurry --w 512 --d 7 --s 20 --l 7.5 --ss euler_a`, TOML or JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from graphexec.train.config import TrainConfig
from graphexec.train.documents import parse_document, read_text
from graphexec.train.faults import TrainingError

__all__ = ["SAMPLERS", "Prompt", "parse_prompt", "read_prompts"]

SAMPLERS: Mapping[str, tuple[str, str]] = {
    "ddim": ("ddim", "ddim_uniform"),
    "lms": ("lms", "normal"),
    "euler": ("euler", "normal"),
    "euler_a": ("euler_ancestral", "normal"),
    "heun": ("heun", "normal"),
    "dpm_2": ("dpm_2", "normal"),
    "dpm_2_a": ("dpm_2_ancestral", "normal"),
    "dpmsolver++": ("dpmpp_2m", "normal"),
}
"""sd-scripts' samplers (also as k_euler …), and the sampler and scheduler that they are here."""
OPTIONS: Mapping[str, str] = {
    "n": "negative_prompt",
    "w": "width",
    "h": "height",
    "d": "seed",
    "s": "sample_steps",
    "l": "scale",
    "ss": "sample_sampler",
}
"""What a line's options are called in TOML and JSON."""
OPTION = re.compile(rf"\s--({'|'.join(OPTIONS)})(?=\s)", re.IGNORECASE)
MOST_STEPS = 10_000
"""More is a slip of the pen."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One picture to make on the way."""

    text: str
    negative: str = ""
    width: int = 512
    height: int = 512
    seed: int = 0
    steps: int = 30
    cfg: float = 7.5
    sampler: str = "ddim"


def read_prompts(path: Path, config: TrainConfig) -> list[Prompt]:
    """The prompts of a file: a line each (those that begin with # are comments), or as tables in TOML or JSON.

    Sizes are those of the first dataset unless a prompt says otherwise, the seed the run's. Raises `TrainingError`.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: the prompts cannot be read ({error})") from error
    width, height = config.datasets[0].resolution if config.datasets else (512, 512)
    like = Prompt("", width=width, height=height, seed=config.loop.seed or 0, sampler=config.samples.sampler)
    if path.suffix.lower() in (".toml", ".json"):
        tables = enumerate(_tables(text, path), 1)
        found = [_prompt(table, like, f"{path}, prompt {number}") for number, table in tables]
    else:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        found = [
            parse_prompt(line, like, f"{path}, line {number}")
            for number, line in lines
            if not line.lstrip().startswith("#")
        ]
    if not found:
        raise TrainingError(f"{path}: there is no prompt in it")
    return found


def parse_prompt(line: str, like: Prompt, place: str) -> Prompt:
    """A line, with what it does not say as in `like`. Raises `TrainingError`, which names `place`."""
    text, *parts = OPTION.split(line.strip() + " ")
    if (strange := re.search(r"\s--(\w+)", " ".join([text, *parts[1::2]]))) is not None:
        raise TrainingError(
            f"{place}: there is no option --{strange[1]}: known are {' '.join(f'--{o}' for o in OPTIONS)}"
        )
    options = {OPTIONS[name.lower()]: value.strip() for name, value in zip(parts[::2], parts[1::2], strict=True)}
    return _prompt({"prompt": text.strip(), **options}, like, place)


def _tables(text: str, path: Path) -> Sequence[Mapping[str, object]]:
    """TOML has `[prompt]` for all and `[[prompt.subset]]` for each, JSON a list of objects."""
    try:
        document: Any = parse_document(text, path)
    except ValueError as error:
        raise TrainingError(f"{path}: {error}") from error
    shared: Any = {}
    if isinstance(document, dict):
        shared = cast("dict[str, Any]", document).get("prompt")
        if not isinstance(shared, dict):
            raise TrainingError(f"{path}: prompts stand in a table [prompt], each in a [[prompt.subset]]")
        document = cast("dict[str, Any]", shared).pop("subset", [])
    if not isinstance(document, list):
        raise TrainingError(f"{path}: expected a list of prompts")
    for number, table in enumerate(cast("list[object]", document), 1):
        if not isinstance(table, dict):
            raise TrainingError(f"{path}, prompt {number}: expected a table, not {table!r}")
    return [{**shared, **table} for table in cast("list[dict[str, object]]", document)]


def _prompt(table: Mapping[str, object], like: Prompt, place: str) -> Prompt:
    if strange := table.keys() - {"prompt", *OPTIONS.values()}:
        known = ", ".join(["prompt", *OPTIONS.values()])
        raise TrainingError(f"{place}: there is no option {min(strange)!r}: known are {known}")
    given = {name: str(value) for name, value in table.items()}
    try:
        prompt = Prompt(
            text=given.get("prompt", ""),
            negative=given.get("negative_prompt", like.negative),
            width=_side(given.get("width", like.width)),
            height=_side(given.get("height", like.height)),
            seed=int(given.get("seed", like.seed)),
            steps=int(given.get("sample_steps", like.steps)),
            cfg=float(given.get("scale", like.cfg)),
            sampler=given.get("sample_sampler", like.sampler).removeprefix("k_"),
        )
    except ValueError as error:
        raise TrainingError(f"{place}: {error}") from error
    if prompt.sampler not in SAMPLERS:
        raise TrainingError(f"{place}: there is no sampler {prompt.sampler!r}: known are {', '.join(SAMPLERS)}")
    if not 1 <= prompt.steps <= MOST_STEPS:
        raise TrainingError(f"{place}: {prompt.steps} steps are none that can be made")
    return prompt


def _side(value: str | int) -> int:
    """As in sd-scripts, made a multiple of 8, and no less than 64."""
    return max(64, int(value) // 8 * 8)
