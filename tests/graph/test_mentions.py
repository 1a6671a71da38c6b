"""Embeddings in prompts: supplied, part of the key, missed before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import graphexec
from graphexec.graph.cache import MemoryCache
from graphexec.graph.context import Context

REGISTRY = graphexec.Registry.standard()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("checkpoints/c.safetensors", "embeddings/one.pt", "embeddings/sub/two.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def planned(
    models: Path, text: Any, *, check_files: bool = True, folders: graphexec.Folders | None = None
) -> graphexec.Plan:
    nodes = {
        "c": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "c.safetensors"}},
        "p": {"class_type": "PrimitiveString", "inputs": {"value": "embedding:one"}},
        "t": {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["c", 1]}},
    }
    folders = folders or graphexec.Folders.from_roots(models)
    return graphexec.compile(nodes, registry=REGISTRY, folders=folders, targets=["t"], check_files=check_files)


def embeddings(plan: graphexec.Plan) -> list[str]:
    return list(plan.nodes["t"].constants["embeddings"])


def key(plan: graphexec.Plan) -> bytes | None:
    return Context(cache=MemoryCache(1024)).keys(plan)["t"]


def missing(plan: graphexec.Plan) -> list[tuple[str, str | None, str | None]]:
    found = [d for d in plan.diagnostics if d.code == "mentioned_file_missing"]
    return [(d.message, d.input, d.hint) for d in found]


def test_a_node_gets_the_files_that_its_text_mentions(models: Path) -> None:
    assert embeddings(planned(models, "a cat")) == []
    assert embeddings(planned(models, "a embedding:two cat")) == ["sub/two.safetensors"]
    assert embeddings(planned(models, "a embedding:two cat", check_files=False)) == []


def test_a_linked_text_may_mention_any(models: Path) -> None:
    assert embeddings(planned(models, ["p", 0])) == ["one.pt", "sub/two.safetensors"]


def test_a_node_that_reads_its_texts_out_of_files_gets_all(models: Path) -> None:
    (models / "input/set").mkdir(parents=True)
    (models / "input/set/a.png").write_bytes(b"")
    nodes = {
        "c": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "c.safetensors"}},
        "t": {"class_type": "LoadImageTextSetFromFolderNode", "inputs": {"folder": "set", "clip": ["c", 1]}},
    }
    folders = graphexec.Folders.from_roots(models)
    plan = graphexec.compile(nodes, registry=REGISTRY, folders=folders, targets=["t"])
    assert embeddings(plan) == ["one.pt", "sub/two.safetensors"]


@pytest.mark.parametrize(("text", "changes"), [("a embedding:one", True), ("a cat", False), (["p", 0], True)])
def test_the_content_of_what_is_mentioned_enters_the_key(models: Path, text: Any, *, changes: bool) -> None:
    before = key(planned(models, text))
    assert before is not None and key(planned(models, text)) == before
    (models / "embeddings/one.pt").write_bytes(b"other")
    assert (key(planned(models, text)) != before) is changes


class TestFilesThatAreListedAndNotFound:
    @pytest.fixture
    def folders(self, models: Path) -> graphexec.Folders:
        """Folders that were listed before one file was removed; another has a name that no workflow can say."""
        (models / "embeddings/a\\b.pt").write_bytes(b"odd")
        folders = graphexec.Folders.from_roots(models)
        folders.names("embeddings")
        (models / "embeddings/one.pt").unlink()
        return folders

    def test_a_linked_text_goes_without_them(self, models: Path, folders: graphexec.Folders) -> None:
        assert embeddings(planned(models, ["p", 0], folders=folders)) == ["sub/two.safetensors"]

    def test_a_mention_is_warned_of(self, models: Path, folders: graphexec.Folders) -> None:
        plan = planned(models, "embedding:one embedding:two", folders=folders)
        assert [message.split(";")[0] for message, _, _ in missing(plan)] == ["there is no file 'one' in embeddings"]
        assert embeddings(plan) == ["sub/two.safetensors"]


@pytest.mark.parametrize("name", ["on", "../one", "/one"])
def test_a_mention_without_a_file_is_warned_of(models: Path, name: str) -> None:
    plan = planned(models, f"embedding:{name} cat")
    ((message, given, hint),) = missing(plan)
    assert message == f"there is no file {name!r} in embeddings; the text goes without it"
    assert given == "text" and hint
    assert embeddings(plan) == []
