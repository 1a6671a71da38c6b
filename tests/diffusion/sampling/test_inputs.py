# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion.tiny import SIZES, checkpoint_weights
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion import readings
from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.sampling.inputs import Surroundings, extra_channels
from graphexec.diffusion.types import Cond, Inpaint

EDM: dict[str, Tensor] = {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)}


@pytest.mark.parametrize(
    ("family", "marks", "scale"), [("sdxl", EDM, 0.13025), ("sdxl", {}, 1.0), ("sd1", {}, 1.0)], ids=str
)
def test_a_picture_to_edit_is_shown_as_the_model_was_trained(
    tmp_path: Path, family: str, marks: dict[str, Tensor], scale: float
) -> None:
    """The file decides, not a later reading of what the model predicts."""
    save_file(checkpoint_weights(0, replace(SIZES[family], channels=8), family=family) | marks, tmp_path / "x")
    model, picture = open_checkpoint(tmp_path / "x")[0], torch.randn(1, 4, 8, 8)
    cond = Cond(torch.zeros(1, 77, 96), inpaint=Inpaint(picture))
    for sampling in (model.sampling, readings.discrete(model.sampling, "v_prediction", zero_snr=False)):
        around = Surroundings(replace(model, sampling=sampling), torch.zeros(1, 4, 8, 8), None)
        torch.testing.assert_close(extra_channels(cond, 4, around), picture * scale)


@pytest.mark.parametrize(
    ("pictures", "seen"),
    [(1, [0, 0, 0, 0]), (2, [0, 0, 1, 1]), (3, [0, 1, 1, 2]), (4, [0, 1, 2, 3]), (7, [0, 2, 4, 6])],
)
def test_pictures_are_spread_over_the_batch(tmp_path: Path, pictures: int, seen: list[int]) -> None:
    save_file(checkpoint_weights(0, replace(SIZES["sd1"], channels=8)), tmp_path / "x")
    around = Surroundings(open_checkpoint(tmp_path / "x")[0], torch.zeros(4, 4, 8, 8), None)
    shown = torch.arange(pictures, dtype=torch.float32)[:, None, None, None].expand(pictures, 4, 8, 8)
    cond = Cond(torch.zeros(1, 77, 32), inpaint=Inpaint(shown, torch.ones(1, 64, 64)))
    assert extra_channels(cond, 4, around)[:, 0, 0, 0].tolist() == seen
    scale = FAMILIES["sd1"].latent_scale
    assert extra_channels(cond, 5, around)[:, 1, 0, 0].tolist() == pytest.approx([scale * i for i in seen])
