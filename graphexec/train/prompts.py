"""sd-scripts' lines of sample prompts: `a cat --n blurry --w 512 --h 768 --d 7 --s 20 --l 7.5 --ss euler_a`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graphexec.train.config import TrainConfig
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
OPTION = re.compile(r"\s--(n|w|h|d|s|l|ss)\s")
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
    """The prompts of a file, a line each; lines that begin with # are comments.

    Sizes are those of the first dataset unless a line says otherwise, the seed the run's. Raises `TrainingError`.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: the prompts cannot be read ({error})") from error
    if path.suffix.lower() in (".toml", ".json"):
        raise TrainingError(f"{path}: prompts are lines of text, one a picture: write them into a .txt file")
    width, height = config.datasets[0].resolution if config.datasets else (512, 512)
    like = Prompt("", width=width, height=height, seed=config.loop.seed or 0, sampler=config.samples.sampler)
    found = [
        parse_prompt(line, like, f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not found:
        raise TrainingError(f"{path}: there is no prompt in it")
    return found


def parse_prompt(line: str, like: Prompt, place: str) -> Prompt:
    """A line, with what it does not say as in `like`. Raises `TrainingError`, which names `place`."""
    text, *parts = OPTION.split(line.strip() + " ")
    options = {name: value.strip() for name, value in zip(parts[::2], parts[1::2], strict=True)}
    if (strange := re.search(r"\s--(\w+)", " ".join([text, *parts[1::2]]))) is not None:
        raise TrainingError(f"{place}: there is no option --{strange[1]}: known are --n --w --h --d --s --l --ss")
    try:
        prompt = Prompt(
            text=text.strip(),
            negative=options.get("n", like.negative),
            width=_side(options.get("w", like.width)),
            height=_side(options.get("h", like.height)),
            seed=int(options.get("d", like.seed)),
            steps=int(options.get("s", like.steps)),
            cfg=float(options.get("l", like.cfg)),
            sampler=options.get("ss", like.sampler).removeprefix("k_"),
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
