"""What the documentation shows works."""

from __future__ import annotations

import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from docs.pages import DOCS, ROOT, blocks, run_page

WRITING = DOCS / "writing-a-node.md"
EMBEDDING = DOCS / "embedding.md"


@pytest.fixture
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    """A module that can be imported by the name that the page gives it, in an empty folder."""
    made = types.ModuleType(request.param)
    monkeypatch.setitem(sys.modules, request.param, made)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.mark.parametrize("module", ["my_nodes"], indirect=True)
def test_writing_a_node(module: types.ModuleType, tmp_path: Path) -> None:
    run_page(WRITING, module)
    (tmp_path / "notes.txt").write_text("remember")
    nodes = {
        "pick": ("Pick", {"first": True, "one": ["half", 0], "other": ["odd", 0]}),
        "half": ("Countdown", {"steps": 4}),
        "odd": ("Countdown", {"steps": 3}),
    }
    assert module.run("pick", **nodes).value("pick") == 4
    assert module.run("odd", **nodes).value("odd") == 3
    assert module.run("notes", notes=("ReadNotes", {"name": "notes.txt"})).value("notes") == "remember"
    saved = module.run("save", save=("SaveText", {"text": "hi", "filename_prefix": "sub/note"}))
    assert [path.relative_to(tmp_path).as_posix() for path in saved.files["save"]] == ["output/sub/note_00001_.txt"]


def test_a_newcomer_reads_under_150_lines() -> None:
    assert len(WRITING.read_text("utf-8").splitlines()) < 150


def test_writing_a_node_needs_no_torch(tmp_path: Path) -> None:
    source = "\n".join(block for _, block in blocks(WRITING))
    (tmp_path / "my_nodes.py").write_text(source + "\nimport sys; assert 'torch' not in sys.modules\n")
    # As `import my_nodes`, so that the file finds itself half made, as the page says.
    subprocess.run([sys.executable, "-c", "import my_nodes"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("module", ["host_program"], indirect=True)
def test_embedding(module: types.ModuleType, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "workflows", tmp_path / "workflows")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run_page(EMBEDDING, module)
    finally:
        torch.set_num_threads(threads)
