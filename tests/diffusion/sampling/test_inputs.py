# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion.tiny import SIZES, checkpoint_weights
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion import readings
from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.sampling.inputs import Surroundings, extra_channels
from graphexec.diffusion.types import Cond, Inpaint

EDM: Mapping[str, Tensor] = {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)}


@pytest.mark.parametrize(
    ("family", "marks", "scale"), [("sdxl", EDM, 0.13025), ("sdxl", {}, 1.0), ("sd1", {}, 1.0)], ids=str
)
def test_a_picture_to_edit_is_shown_as_the_model_was_trained(
    tmp_path: Path, family: str, marks: Mapping[str, Tensor], scale: float
) -> None:
    """The file decides, not a later reading of what the model predicts."""
    save_file(checkpoint_weights(0, replace(SIZES[family], channels=8), family=family) | marks, tmp_path / "x")
    model, picture = open_checkpoint(tmp_path / "x")[0], torch.randn(1, 4, 8, 8)
    cond = Cond(torch.zeros(1, 77, 96), inpaint=Inpaint(picture))
    for sampling in (model.sampling, readings.discrete(model.sampling, "v_prediction", zero_snr=False)):
        around = Surroundings(replace(model, sampling=sampling), torch.zeros(1, 4, 8, 8), None)
        torch.testing.assert_close(extra_channels(cond, 4, around), picture * scale)
