"""Upscale models that cannot be opened are told before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import graphexec


def test_a_pickled_upscale_model_opens_when_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "upscale_models").mkdir()
    torch.save({"params_ema": {"w": torch.ones(1)}}, tmp_path / "upscale_models/x4.pth")
    document: dict[str, Any] = {
        "up": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "x4.pth"}},
        "picture": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "big": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["up", 0], "image": ["picture", 0]}},
        "show": {"class_type": "PreviewImage", "inputs": {"images": ["big", 0]}},
    }
    plan = graphexec.compile(document, folders=graphexec.Folders.from_roots(tmp_path))
    (told,) = plan.diagnostics
    assert (told.code, told.severity, told.node, told.input) == ("invalid_model_file", "warning", "up", "model_name")
    assert "graphexec convert-checkpoint" in told.message
    assert "--allow-pickle" in (told.hint or "")
    result = graphexec.run(plan, graphexec.Context(output=tmp_path / "out", settings={"device": "cpu"}))
    assert set(result.failures) == {"up"}
    allowing = graphexec.Context(output=tmp_path / "out", settings={"device": "cpu", "allow_pickle": "yes"})
    assert "up" not in graphexec.run(plan, allowing).failures
