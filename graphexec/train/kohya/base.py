"""The base model that settings name, as its header shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graphexec.diffusion.checkpoint import CheckpointLayout, read_layout
from graphexec.errors import ModelFileError
from graphexec.train.bases import TRAINED, unfit
from graphexec.train.config import TrainFamily
from graphexec.train.kohya.settings import Settings

__all__ = ["TITLES", "Base", "read_base"]

KEY = "pretrained_model_name_or_path"
TITLES: Mapping[TrainFamily, str] = {
    "sd15": "Stable Diffusion 1",
    "sd2": "Stable Diffusion 2",
    "sdxl": "Stable Diffusion XL",
}
SCRIPT_HINTS: Mapping[TrainFamily, str] = {
    "sd15": "leave out v2, and use train_network.py",
    "sd2": "set v2, and use train_network.py",
    "sdxl": "leave out v2, and use sdxl_train_network.py",
}


@dataclass(frozen=True, slots=True)
class Base:
    """What is known of the base: its family (if any is), and its layout if the file could be read."""

    family: TrainFamily | None
    layout: CheckpointLayout | None = None


def read_base(settings: Settings, told: TrainFamily | None) -> Base:
    """The base, whose file decides about its family; `told` is what the script says. Faults are collected."""
    told = _told(settings, told)
    path: Path | None = settings.get(KEY)
    layout = _layout(settings, path) if path is not None else None
    found = TRAINED.get(layout.family) if layout is not None else None
    if told and found and told != found:
        settings.error(
            "wrong_base",
            KEY,
            f"{path} is a checkpoint of {TITLES[found]}, and the settings are for {TITLES[told]}",
            SCRIPT_HINTS[found],
        )
    for what, hint in unfit(layout, vae_elsewhere=settings.get("vae") is not None) if layout is not None else ():
        settings.error("wrong_base", KEY, f"{path} {what}", hint)
    return Base(found or told, layout)


def _told(settings: Settings, family: TrainFamily | None) -> TrainFamily | None:
    if not settings.get("v2"):
        return family
    if family == "sdxl":
        settings.error("contradiction", "v2", "is for Stable Diffusion 2, and the script is for SDXL", "leave it out")
    return "sd2"


def _layout(settings: Settings, path: Path) -> CheckpointLayout | None:
    source = settings.source(KEY)
    if path.is_dir():
        hint = "use the single file of the checkpoint (.safetensors)"
        settings.error("wrong_base", KEY, f"{path} is a folder in the layout of diffusers", hint)
    elif not path.exists():
        hint = (
            "nothing is downloaded: name a file on this machine" if len(path.parts) == 2 and not path.suffix else None
        )
        settings.faults.missing(source, KEY, f"there is no {path}", hint)
    else:
        try:
            return read_layout(path)
        except ModelFileError as error:
            settings.error("wrong_base", KEY, str(error))
    return None
