# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from train.network.bases import Base, MakeBase, make_base

from graphexec.diffusion.types import Family


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> MakeBase:
    """Tiny models by family, made once; a test takes its adapters off again."""
    made: dict[Family, Base] = {}
    folder: Path = tmp_path_factory.mktemp("bases")

    def base(family: Family) -> Base:
        if family not in made:
            made[family] = make_base(folder, family)
        return made[family]

    return base
