"""Where the options that commands share lead to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest

from cli.shell import Shell
from graphexec.cli.options import Caching, Store, parse_device
from graphexec.graph.cache import NullCache, TieredCache
from graphexec.graph.events import CacheProblem, Event
from graphexec.node.registry import Registry


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:11"])
def test_devices(device: str) -> None:
    assert parse_device(device) == device


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:-1", "CPU"])
def test_what_is_no_device(device: str) -> None:
    with pytest.raises(click.BadParameter):
        parse_device(device)


def test_the_cache_is_the_users_unless_another_folder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Store(None).root.is_relative_to(Path.home()) or Store(None).root.is_relative_to(tmp_path)
    assert Store(None).root.name == "graphexec"
    assert Store(tmp_path).root == tmp_path


def test_without_a_cache_nothing_is_kept(tmp_path: Path) -> None:
    assert isinstance(Caching(tmp_path, no_cache=True, device="cpu").context(Registry()).cache, NullCache)


def test_the_device_is_a_setting_and_bad_entries_are_events(tmp_path: Path) -> None:
    told: list[Event] = []
    context = Caching(tmp_path, no_cache=False, device="cuda:1").context(Registry(), told.append, output=tmp_path / "o")
    assert (context.settings, context.output) == ({"device": "cuda:1"}, tmp_path / "o")
    key = bytes(32)
    context.cache.put(key, ([1],))
    assert isinstance(context.cache, TieredCache)
    (entry,) = tmp_path.rglob("*.gx")
    entry.write_bytes(b"")
    context.cache.memory = None
    assert context.cache.get(key) is None
    assert [type(event) for event in told] == [CacheProblem]


@pytest.mark.parametrize(
    ("asked", "setting"),
    [({}, None), ({"compile": True}, "kernels"), ({"compile": True, "cuda_graphs": True}, "graphs")],
)
def test_how_to_compile_is_a_setting(tmp_path: Path, asked: dict[str, Any], setting: str | None) -> None:
    context = Caching(tmp_path, no_cache=True, device="cpu", **asked).context(Registry())
    assert context.settings.get("compile") == setting


def test_the_environment_names_the_cache_and_the_models(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("first", "second"):
        Path(folder, "checkpoints").mkdir(parents=True)
        Path(folder, "checkpoints", "a.safetensors").write_text(folder)
    monkeypatch.setenv("GRAPHEXEC_MODELS", os.pathsep.join(["first", "second"]))
    monkeypatch.setenv("GRAPHEXEC_CACHE", "kept")
    shell.write({"1": ("Load", {"ckpt_name": "a.safetensors"}), "2": ("Show", {"source": ["1", 0]})})
    assert shell.json("run", "workflow.json", "--json")["texts"] == {"2": ["first"]}
    assert shell.json("run", "workflow.json", "--json", "--models", "second")["texts"] == {"2": ["second"]}
    assert Path("kept").is_dir()
