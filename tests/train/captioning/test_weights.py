"""Where weights are looked for, and what is said when they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphexec.errors import ModelFileError
from graphexec.train.captioning.weights import Weights


def test_a_folder_has_to_hold_every_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    (tmp_path / "vocab.txt").touch()
    weights = Weights("me/it", tmp_path)
    assert weights.find("model.onnx", "tokenizer.json|vocab.txt") == tmp_path
    with pytest.raises(ModelFileError) as error:
        weights.find("model.onnx", "a|b", "selected_tags.csv")
    assert str(error.value).splitlines() == [
        f"{tmp_path} lacks a or b, selected_tags.csv",
        f"download into {tmp_path}:",
        "  https://huggingface.co/me/it/resolve/main/a",
        "  https://huggingface.co/me/it/resolve/main/selected_tags.csv",
    ]


def test_without_a_folder_the_hubs_cache_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelFileError) as error:
        Weights("me/it").find("model.onnx")
    assert str(error.value).splitlines() == [
        f"me/it is not in the hub's cache {tmp_path}",
        "download into a folder, and name that folder with --weights, or add --download:",
        "  https://huggingface.co/me/it/resolve/main/model.onnx",
    ]
    snapshot = tmp_path / "models--me--it" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (tmp_path / "models--me--it" / "refs").mkdir()
    (tmp_path / "models--me--it" / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    (snapshot / "model.onnx").touch()
    assert Weights("me/it").find("model.onnx") == snapshot
    with pytest.raises(ModelFileError, match=r"lacks selected_tags\.csv\ndownload into a folder"):
        Weights("me/it").find("model.onnx", "selected_tags.csv")


def test_a_name_that_is_no_repository_is_refused() -> None:
    with pytest.raises(ModelFileError, match="no repository"):
        Weights("../x/y").find("model.onnx")
