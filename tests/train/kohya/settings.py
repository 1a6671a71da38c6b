"""A folder with a base, pictures (and places for others) and settings, and short ways to read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from diffusion.tiny import write_checkpoint
from train.data.sets import captioned

from graphexec.train.config import TrainConfig
from graphexec.train.kohya import ConfigError, Fault, Reading, read_command, read_file

BASE = """
pretrained_model_name_or_path = "base.safetensors"
output_dir = "out"
train_data_dir = "train"
max_train_steps = 10
network_alpha = 4
learning_rate = 1e-4
resolution = 512
"""


@dataclass(frozen=True)
class Desk:
    """A folder to read settings in; `family` names the tiny checkpoint that is the base."""

    folder: Path

    def base(self, family: str, name: str = "base.safetensors") -> None:
        write_checkpoint(self.folder / name, family=family)

    def reading(self, text: str = "", base: str = BASE, overrides: Mapping[str, str] | None = None) -> Reading:
        """The settings of BASE, and some more, which count where both say something."""
        path, more = Path("style.toml"), {line.partition(" = ")[0] for line in text.splitlines()}
        kept = [line for line in base.splitlines() if line.partition(" = ")[0] not in more - {""}]
        path.write_text("\n".join([*kept, text]), encoding="utf-8")
        return read_file(path, overrides)

    def config(self, text: str = "") -> TrainConfig:
        return self.reading(text).config

    def errors(self, text: str = "", base: str = BASE) -> list[Fault]:
        """What prevents the run."""
        with pytest.raises(ConfigError) as caught:
            self.reading(text, base)
        return [fault for fault in caught.value.faults if fault.severity == "error"]

    def warnings(self, text: str = "", base: str = BASE) -> list[Fault]:
        return [fault for fault in self.reading(text, base).faults if fault.severity == "warning"]

    def command(self, text: str) -> Reading:
        return read_command(text)


def make_desk(folder: Path) -> Desk:
    desk = Desk(folder)
    desk.base("sd1")
    for number in range(2):
        captioned(folder / "train" / "3_sks cat" / f"{number}.png", f"a cat, number {number}")
    (folder / "reg").mkdir()
    (folder / "meta.json").write_text("{}", encoding="utf-8")
    return desk
