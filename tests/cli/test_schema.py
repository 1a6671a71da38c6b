"""`graphexec schema`: writes them, and tells when they are stale."""

from __future__ import annotations

import json
from pathlib import Path

from cli.shell import Shell


def test_schemas_are_written_where_they_are_wanted(shell: Shell) -> None:
    result = shell.run("schema")
    assert result.exit_code == 0
    written = [Path(line) for line in result.stdout.splitlines()]
    assert sorted(written) == sorted(Path("schemas").rglob("*.json"))
    assert Path("schemas/nodes/Scale.schema.json") in written
    assert all(json.loads(path.read_text(encoding="utf-8"))["$schema"] for path in written)
    assert shell.run("schema", "elsewhere").exit_code == 0
    assert Path("elsewhere/workflow.schema.json").is_file()


def test_check_names_what_is_stale_and_writes_nothing(shell: Shell) -> None:
    shell.run("schema")
    fresh = shell.run("schema", "--check")
    assert (fresh.exit_code, fresh.output) == (0, "")
    path = Path("schemas/nodes/Scale.schema.json")
    path.write_text("{}")
    stale = shell.run("schema", "--check")
    assert stale.exit_code == 1
    assert stale.stderr.splitlines() == [f"stale: {path}", "run: graphexec schema schemas"]
    assert path.read_text() == "{}"


def test_a_folder_that_cannot_be_written(shell: Shell) -> None:
    Path("file").touch()
    result = shell.run("schema", "file/schemas")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
