"""`--export`: what a node returned, in files of tensors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from running import Nodes
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

from cli.shell import Shell

LATENTS: Nodes = {
    "1": ("MakeLatent", {"seed": 7}),
    "1:2": ("MakeLatent", {"seed": 12}),
    "many": ("MakeLatents", {"count": 3}),
    "text": ("Say", {"text": "x"}),
    "halves": ("Halve", {"value": 5}),
    "fruit": ("Plant", {}),
    "show": ("Show", {"source": ["text", 0]}),
}


def value(path: str) -> float:
    """The number that a latent was made of."""
    samples = load_file(path)["samples"]
    assert torch.equal(samples, torch.full((1, 4, 2, 2), samples[0, 0, 0, 0].item()))
    return samples[0, 0, 0, 0].item()


def test_a_node_is_exported_though_no_output_needs_it(shell: Shell) -> None:
    shell.write(LATENTS)
    result = shell.run("run", "workflow.json", "--export", "1=out/a.safetensors", "--export", "1:2:0=b.safetensors")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [str(shell.folder / name) for name in ("out/a.safetensors", "b.safetensors")]
    assert (value("out/a.safetensors"), value("b.safetensors")) == (7, 12)
    assert "text of node show" in result.stderr


def test_an_export_that_is_named_twice_is_written_once(shell: Shell) -> None:
    shell.write(LATENTS)
    result = shell.run("run", "workflow.json", "--export", "1=a.safetensors", "--export", "1:0=./a.safetensors")
    assert result.stdout.splitlines() == [str(shell.folder / "a.safetensors")]


def test_exports_are_events_too(shell: Shell) -> None:
    result = shell.run("run", shell.write(LATENTS), "--export", "1=a.safetensors", "--events", "json")
    told = json.loads(result.stdout.splitlines()[-1])
    assert told == {"event": "exported", "node": "1", "files": [str(shell.folder / "a.safetensors")]}


def test_an_export_comes_from_the_cache_too(shell: Shell) -> None:
    shell.write(LATENTS)
    shell.run("run", "workflow.json", "--export", "1=a.safetensors")
    document = shell.json("run", "workflow.json", "--export", "1=b.safetensors", "--json")
    assert "1" in document["cached"]
    assert document["exports"] == {"1": [str(shell.folder / "b.safetensors")]}
    assert value("a.safetensors") == value("b.safetensors") == 7


def test_what_names_a_node_as_a_whole_is_not_taken_apart(shell: Shell) -> None:
    shell.write(LATENTS)
    assert shell.run("run", "workflow.json", "--export", "1:2=a.safetensors").exit_code == 0
    assert value("a.safetensors") == 12
    assert shell.run("run", "workflow.json", "--export", "MakeLatents=c.safetensors").exit_code == 0


def test_a_list_has_a_file_for_each_item(shell: Shell) -> None:
    shell.write(LATENTS)
    result = shell.run("run", "workflow.json", "--export", "many=l.safetensors")
    assert [Path(line).name for line in result.stdout.splitlines()] == [f"l-{place}.safetensors" for place in range(3)]
    assert [value(f"l-{place}.safetensors") for place in range(3)] == [0, 1, 2]


def test_two_merged_nodes_have_a_file_each(shell: Shell) -> None:
    shell.write({"a": ("MakeLatent", {"seed": 1}), "b": ("MakeLatent", {"seed": 1})})
    result = shell.run("run", "workflow.json", "--export", "a=a.safetensors", "--export", "b=b.safetensors")
    assert result.exit_code == 0, result.stderr
    assert value("a.safetensors") == value("b.safetensors") == 1


@pytest.mark.parametrize(
    ("export", "code", "words"),
    [
        ("nobody=x.safetensors", "unknown_node", "nobody"),
        ("nobody:0=x.safetensors", "unknown_node", "nobody"),
        ("MakeLatent=x.safetensors", "ambiguous_node", "1, 1:2"),
        ("1:1=x.safetensors", "output_slot_out_of_range", "0 LATENT"),
        ("show=x.safetensors", "output_slot_out_of_range", "none"),
        ("text=x.safetensors", "not_exportable", "STRING, which holds no tensors"),
        ("halves:1=x.safetensors", "not_exportable", "INT, which holds no tensors"),
        ("fruit=x.safetensors", "not_exportable", "APPLE"),
        ("1", "invalid_export", "NODE:SLOT=FILE.safetensors"),
        ("1=", "invalid_export", "NODE:SLOT=FILE.safetensors"),
        ("=x.safetensors", "invalid_export", "NODE:SLOT=FILE.safetensors"),
        ("1=.", "invalid_export", "is a folder"),
        ("1=/", "invalid_export", "is a folder"),
        ("1=workflow.json/x.safetensors", "invalid_export", "workflow.json: it is a file, not a folder"),
        ("1=" + "x" * 300, "invalid_export", "cannot be written: File name too long"),
    ],
)
def test_what_cannot_be_exported_is_told_before_anything_runs(shell: Shell, export: str, code: str, words: str) -> None:
    result = shell.run("run", shell.write(LATENTS), "--export", export)
    assert result.exit_code == 2
    assert f"[{code}]" in result.stderr
    assert words in result.stderr
    assert not Path("cache").exists()


def test_two_exports_need_a_file_each(shell: Shell) -> None:
    shell.write(LATENTS)
    result = shell.run("run", "workflow.json", "--export", "1=x.safetensors", "--export", "1:2=./x.safetensors")
    assert result.exit_code == 2
    assert f"Two exports would be written to {shell.folder / 'x.safetensors'} [invalid_export]" in result.stderr
    assert "hint: name another file" in result.stderr


def test_a_node_that_failed_is_not_exported(shell: Shell) -> None:
    shell.write(
        {"bad": ("Fail", {"value": 1}), "1": ("MakeLatent", {"seed": ["bad", 0]}), "2": ("MakeLatent", {"seed": 2})}
    )
    result = shell.run("run", "workflow.json", "--export", "1=a.safetensors", "--export", "2=b.safetensors")
    assert result.exit_code == 1
    assert f"error: {shell.folder / 'a.safetensors'} is not written: node 1" in result.stderr
    assert value("b.safetensors") == 2


def test_nothing_to_export(shell: Shell) -> None:
    result = shell.run("run", shell.write({"1": ("MakeLatents", {"count": 0})}), "--export", "1=a.safetensors")
    assert result.exit_code == 1
    assert "nothing to export" in result.stderr


def test_items_that_were_written_before_one_that_cannot_be_are_told(shell: Shell) -> None:
    Path("x-1.safetensors").mkdir()
    result = shell.run("run", shell.write(LATENTS), "--export", "many=x.safetensors")
    assert (result.exit_code, result.stdout) == (1, f"{shell.folder / 'x-0.safetensors'}\n")
    assert "x-1.safetensors" in result.stderr
    document = shell.json("run", "workflow.json", "--export", "many=x.safetensors", "--json")
    assert document["exports"] == {"many": [str(shell.folder / "x-0.safetensors")]}


def test_an_export_that_cannot_be_written_spoils_and_hides_nothing_else(shell: Shell) -> None:
    Path("x-0.safetensors").mkdir()
    shell.write(
        {**LATENTS, "bad": ("Fail", {"value": 1, "message": "broken tooth"}), "of": ("Show", {"source": ["bad", 0]})}
    )
    exports = ["--export", "many=x.safetensors", "--export", "1:2=b.safetensors"]
    result = shell.run("run", "workflow.json", *exports)
    assert result.exit_code == 1
    assert "broken tooth" in result.stderr
    assert "text of node show" in result.stderr
    assert str(shell.folder / "x-0.safetensors") in result.stderr.splitlines()[-1]
    assert value("b.safetensors") == 12
    document = shell.json("run", "workflow.json", *exports, "--json")
    assert (document["status"], len(document["failures"]), list(document["exports"])) == ("failed", 1, ["1:2"])
    assert str(shell.folder / "x-0.safetensors") in document["error"]
