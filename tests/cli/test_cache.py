"""`graphexec cache`."""

from __future__ import annotations

from pathlib import Path

from running import Nodes

from cli.shell import Shell

NOTE: Nodes = {"1": ("Int", {"value": 2}), "2": ("Show", {"source": ["1", 0]})}


def entries() -> list[Path]:
    return sorted(Path("cache").rglob("*.gx"))


def test_info_of_a_cache_that_is_not_there_yet(shell: Shell) -> None:
    result = shell.run("cache", "info")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == str(shell.folder / "cache")
    assert result.stdout.splitlines()[1].startswith("0 results, 0 B, at most ")
    assert not Path("cache").exists()


def test_info(shell: Shell) -> None:
    shell.run("run", shell.write(NOTE))
    found = shell.json("cache", "info", "--json")
    assert found["root"] == str(shell.folder / "cache")
    assert found["entries"] == len(entries()) == 2
    assert found["bytes"] == sum(path.stat().st_size for path in entries())
    assert shell.json("cache", "info", "--json", "--cache-dir", "other")["entries"] == 0


def test_gc_leaves_what_fits(shell: Shell) -> None:
    shell.run("run", shell.write(NOTE))
    assert shell.json("cache", "gc", "--json") == {"status": "done", "entries": 0, "bytes": 0}
    assert shell.run("cache", "gc", "--max-size", "0").stdout.startswith("removed 2 results, ")
    assert entries() == []


def test_gc_wants_a_size(shell: Shell) -> None:
    result = shell.run("cache", "gc", "--max-size", "much")
    assert result.exit_code == 2
    assert "500MB" in result.stderr


def test_verify_removes_what_is_damaged(shell: Shell) -> None:
    shell.run("run", shell.write(NOTE))
    damaged, sound = entries()
    damaged.write_bytes(b"nothing")
    result = shell.run("cache", "verify")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"removed {damaged.absolute()}", "1 sound result, 1 removed"]
    assert entries() == [sound]
    assert shell.json("cache", "verify", "--json") == {"status": "done", "ok": 1, "dropped": []}


def test_clear(shell: Shell) -> None:
    shell.run("run", shell.write(NOTE))
    assert shell.json("cache", "clear", "--json")["entries"] == 2
    assert entries() == []


def test_a_folder_of_something_else_is_left_alone(shell: Shell) -> None:
    Path("cache").mkdir()
    Path("cache/thesis.txt").write_text("mine")
    result = shell.run("cache", "clear")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert Path("cache/thesis.txt").read_text() == "mine"
    document = shell.json("cache", "clear", "--json")
    assert document["status"] == "failed" and document["error"] in result.stderr
