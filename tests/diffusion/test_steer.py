# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from pathlib import Path

import torch

from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.steer import steer, steer_both, with_union_type
from graphexec.diffusion.types import Cond, Conditioning, Control, ControlNet

NET = ControlNet(WeightsFile(Path("net"), 0, 0, ()))
HINT = torch.zeros(1, 8, 8, 3)


def conditioning(*controls: Control, count: int = 1) -> Conditioning:
    return Conditioning((Cond(torch.zeros(1, 1, 1), controls=controls),) * count)


def test_one_side_is_steered_and_says_so_to_the_other() -> None:
    control = Control(NET, HINT)
    for cond in steer(conditioning(count=2), control).conds:
        assert cond.controls == (control,)
        assert cond.control_uncond


def test_both_sides_are_steered_each_for_itself() -> None:
    first, second = Control(NET, HINT), Control(NET, HINT, 0.5, 0.1, 0.9)
    positive, negative = steer_both(steer(conditioning(), first), conditioning(count=2), second)
    assert positive.conds[0].controls == (first, second)
    assert [cond.controls for cond in negative.conds] == [(second,), (second,)]
    assert not any(cond.control_uncond for cond in (*positive.conds, *negative.conds))


def test_no_strength_gives_back_what_came() -> None:
    positive, negative, control = conditioning(), conditioning(), Control(NET, HINT, 0.0)
    assert steer(positive, control) is positive
    assert steer_both(positive, negative, control) == (positive, negative)


def test_union_types() -> None:
    assert with_union_type(NET, "tile").union_type == 6
    assert with_union_type(with_union_type(NET, "tile"), "auto").union_type is None
