# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from graphexec.diffusion.embeddings import find_mentioned, find_word, read_embedding
from graphexec.diffusion.pickles import read_pickled
from graphexec.errors import ModelFileError

KNOWN = ["a.pt", "a.safetensors", "b/a.bin", "b/deep/c.safetensors", "b/d.pt", "c/d.bin", "e,.pt"]


@pytest.mark.parametrize(
    ("word", "found", "behind"),
    [
        ("a", "a.safetensors", ""),
        ("a.pt", "a.pt", ""),
        ("a,,", "a.safetensors", ",,"),
        ("b/a", "b/a.bin", ""),
        ("b\\a", "b/a.bin", ""),
        ("c", "b/deep/c.safetensors", ""),
        ("deep/c", "b/deep/c.safetensors", ""),
        ("d", "b/d.pt", ""),
        ("e,", "e,.pt", ""),
        ("nothing,", None, ","),
        ("../a", None, ""),
        ("/a", None, ""),
        ("", None, ""),
        ("afe", None, ""),
    ],
)
def test_a_name_is_found_with_or_without_ending_in_any_folder(word: str, found: str | None, behind: str) -> None:
    assert find_word(word, KNOWN) == (found, behind)


def test_mentioned_names_come_with_their_files() -> None:
    prompt = "embedding:a, (embedding:nothing:1.2) a embedding:d cat"
    assert find_mentioned(prompt, KNOWN) == {"a,": "a.safetensors", "nothing": None, "d": "b/d.pt"}


def saved(path: Path, held: Any) -> Path:
    torch.save(held, path)
    return path


V8, V12 = torch.arange(16.0).reshape(2, 8), torch.arange(36.0).reshape(3, 12)


def test_what_files_of_embeddings_hold(tmp_path: Path) -> None:
    both = tmp_path / "both.safetensors"
    save_file({"clip_g": V12, "clip_l": V8}, both)
    assert torch.equal(read_embedding(both, "clip_l"), V8)
    assert torch.equal(read_embedding(both, "clip_g"), V12)
    assert read_embedding(both, "clip_h").shape == (3, 12)  # of another encoder: whoever uses it says so
    one = tmp_path / "one.safetensors"
    save_file({"emb_params": V8.half()[0]}, one)
    assert torch.equal(read_embedding(one, "clip_l"), V8[:1])
    bundle = tmp_path / "bundle.safetensors"
    save_file({"bundle_emb.x.clip_l": V8, "bundle_emb.y.clip_l": V8 + 1, "lora_unet_x": V12}, bundle)
    assert torch.equal(read_embedding(bundle, "clip_l"), torch.cat([V8, V8 + 1]))
    old = saved(tmp_path / "old.pt", {"string_to_token": {"*": 265}, "string_to_param": {"*": V8}, "step": 3})
    assert torch.equal(read_embedding(old, "clip_l"), V8)
    first = saved(tmp_path / "first.pt", {"string_to_param": torch.nn.ParameterDict({"*": V8})})
    assert torch.equal(read_embedding(first, "clip_l"), V8)
    wide = torch.ones(2, 768)
    parts = saved(tmp_path / "list.pt", [{"a": wide}, {"b": torch.ones(1, 1024)}, {"c": wide[0]}])
    assert torch.equal(read_embedding(parts, "clip_l"), torch.ones(3, 768))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


def test_a_file_that_is_no_embedding_is_an_error_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelFileError, match=r"evil\.pt.*it holds '[\w.]*print', which can run code") as caught:
        read_embedding(saved(tmp_path / "evil.pt", {"x": Evil()}), "clip_l")
    assert "weights_only" not in str(caught.value)
    assert capsys.readouterr().out == ""
    for name in ("broken.pt", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"<html>")
        with pytest.raises(ModelFileError, match=r"broken.*(cannot be read|is damaged)"):
            read_embedding(tmp_path / name, "clip_l")
    for held in ({}, [], {"step": 3}, 3):
        with pytest.raises(ModelFileError, match="no embedding in this file"):
            read_embedding(saved(tmp_path / "none.pt", held), "clip_l")


def test_embeddings_are_read_while_checkpoints_are(tmp_path: Path) -> None:
    embedding = saved(tmp_path / "x.pt", {"string_to_param": torch.nn.ParameterDict({"*": V8})})
    checkpoint = saved(tmp_path / "x.ckpt", {"x": V8})
    reads = [partial(read_embedding, embedding, "clip_l"), partial(read_pickled, checkpoint)] * 100
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(_count, reads))


def _count(read: Callable[[], Mapping[str, Any]]) -> int:
    return len(read())
