"""`graphexec validate`: many files, all their faults, as text and as JSON."""

from __future__ import annotations

from pathlib import Path

import jsonschema
from click.testing import CliRunner
from running import Nodes

from cli.pack import registry
from cli.shell import Shell
from graphexec.cli.main import build_cli
from graphexec.graph.schemas import build_schemas
from graphexec.node.registry import Registry

SOUND: Nodes = {"1": ("Int", {"value": 1}), "2": ("Show", {"source": ["1", 0]})}
LOSSY: Nodes = {"1": ("Int", {"value": 1.5}), "2": ("Show", {"source": ["1", 0]})}
TWO_FAULTS: Nodes = {
    "1": ("Int", {"value": "x"}),
    "2": ("Add", {"a": ["9", 0], "b": 1}),
    "3": ("Show", {"source": ["2", 0]}),
    "4": ("Show", {"source": ["1", 0]}),
}
NO_FILE: Nodes = {"1": ("Load", {"ckpt_name": "no.safetensors"}), "2": ("Show", {"source": ["1", 0]})}


def test_all_faults_of_all_files_and_a_summary(shell: Shell) -> None:
    files = [shell.write(SOUND, "a.json"), shell.write(TWO_FAULTS, "b.json"), shell.write(LOSSY, "c.json")]
    result = shell.run("validate", *files)
    assert result.exit_code == 2
    heads = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert heads[0].startswith('b.json:5:13: error: node 1 (Int "the Int").value: ')
    assert heads[0].endswith("[invalid_input_type]")
    assert [line.split(":")[0] for line in heads] == [
        "b.json",
        "b.json",
        "c.json",
        "3 files checked, 1 with errors (2 errors, 1 warning)",
    ]


def test_a_missing_model_is_told_where_to_put_it(shell: Shell) -> None:
    folder = Path("models/checkpoints").absolute()
    missing = shell.write({"1": ("Load", {"ckpt_name": "zebra.ckpt"}), "2": ("Show", {"source": ["1", 0]})})
    ways = f"put the file into {folder} or name a models folder with --models\n"
    assert f"hint: {ways}" in shell.run("validate", missing).stdout
    folder.mkdir(parents=True)
    (folder / "zebra2.ckpt").touch()
    assert f"hint: did you mean `zebra2.ckpt`? Otherwise {ways}" in shell.run("validate", missing).stdout


def test_nothing_to_say(shell: Shell) -> None:
    result = shell.run("validate", shell.write(SOUND))
    assert (result.exit_code, result.output) == (0, "1 file checked, none with errors\n")


def test_json_is_as_documented(shell: Shell) -> None:
    files = [shell.write(SOUND, "a.json"), shell.write(TWO_FAULTS, "b.json"), "nowhere.json"]
    report = shell.json("validate", "--format", "json", *files)
    schema = build_schemas(Registry())["diagnostics.schema.json"]
    jsonschema.validate(report, schema)
    assert report["status"] == "invalid"
    (_, found, _) = report["files"]
    assert list(found["diagnostics"][0]) == list(schema["$defs"]["diagnostic"]["properties"])
    assert [(each["file"], each["ok"]) for each in report["files"]] == [
        ("a.json", True),
        ("b.json", False),
        ("nowhere.json", False),
    ]
    first = report["files"][1]["diagnostics"][0]
    assert (first["node"], first["input"], first["pointer"]) == ("1", "value", "/1/inputs/value")


def test_json_whatever_stops_the_check(shell: Shell) -> None:
    def broken() -> Registry:
        raise OSError("the disk is gone")

    shell.cli = build_cli(broken)
    report = shell.json("validate", "--format", "json", shell.write(SOUND))
    jsonschema.validate(report, build_schemas(Registry())["diagnostics.schema.json"])
    assert report == {"status": "failed", "error": "the disk is gone"}


def test_a_models_folder_that_is_not_there_hides_no_fault_of_a_file(shell: Shell) -> None:
    files = shell.write(TWO_FAULTS, "a.json"), shell.write(NO_FILE, "b.json"), "nowhere.json"
    report = shell.json("validate", "--format", "json", *files, "--models", "gone")
    found = [[each["code"] for each in file["diagnostics"]] for file in report["files"]]
    alone = shell.json("validate", "--format", "json", "--skip-files", *files)
    others = [[each["code"] for each in file["diagnostics"]] for file in alone["files"]]
    assert found == [["invalid_model_folder", *codes] for codes in others]
    assert "value_not_in_list" not in found[1]  # a file that was not looked for is not told as missing
    assert shell.run("validate", shell.write(SOUND), "--models", "gone").exit_code == 3


def test_missing_files_have_an_exit_code_of_their_own(shell: Shell) -> None:
    assert shell.run("validate", "nowhere.json").exit_code == 3
    assert shell.run("validate", shell.write(NO_FILE)).exit_code == 3
    assert shell.run("validate", shell.write(NO_FILE), shell.write(TWO_FAULTS, "b.json")).exit_code == 2
    assert shell.run("validate", shell.write(NO_FILE), "--skip-files").exit_code == 0


def test_models_are_looked_up_where_they_are_said_to_be(shell: Shell) -> None:
    Path("m/checkpoints").mkdir(parents=True)
    Path("m/checkpoints/no.safetensors").touch()
    assert shell.run("validate", shell.write(NO_FILE), "--models", "m").exit_code == 0


def test_strict_and_fill_defaults(shell: Shell) -> None:
    assert shell.run("validate", shell.write(LOSSY)).exit_code == 0
    assert shell.run("validate", shell.write(LOSSY), "--strict").exit_code == 2
    gap = shell.write({"1": ("Int", {}), "2": ("Show", {"source": ["1", 0]})})
    assert shell.run("validate", gap).exit_code == 2
    assert shell.run("validate", gap, "--fill-defaults").exit_code == 0


def test_only_what_a_target_needs_can_fail(shell: Shell) -> None:
    shell.write({**SOUND, "3": ("Int", {"value": "x"}), "4": ("Show", {"source": ["3", 0]})})
    assert shell.run("validate", "workflow.json").exit_code == 2
    assert shell.run("validate", "workflow.json", "--target", "2").exit_code == 0
    assert shell.run("validate", "workflow.json", "--target", "nobody").exit_code == 2


def test_a_target_that_is_not_there_hides_no_other_fault(shell: Shell) -> None:
    lines = shell.run("validate", shell.write(TWO_FAULTS), "--target", "nobody", "--target", "2").stdout.splitlines()
    assert [line.rpartition(" ")[2] for line in lines if ": error: " in line] == [
        "[unknown_node]",
        "[invalid_input_type]",
        "[linked_node_missing]",
    ]


def test_standard_input(shell: Shell) -> None:
    result = shell.run("validate", "-", stdin=Path(shell.write(TWO_FAULTS)).read_text())
    assert result.exit_code == 2
    assert result.stdout.startswith("-:5:13: error: ")


def test_a_file_named_twice_is_told_twice(shell: Shell) -> None:
    """Of standard input nothing is left for the second time, which does not hide what was found at first."""
    result = shell.run("validate", "-", "-", stdin=Path(shell.write(TWO_FAULTS)).read_text())
    assert "[invalid_input_type]" in result.stdout
    assert "[empty_file]" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("2 files checked, 2 with errors")


def test_the_registry_is_made_once_for_all_files(shell: Shell) -> None:
    made: list[Registry] = []

    def factory() -> Registry:
        made.append(registry())
        return made[-1]

    names = [shell.write(SOUND, f"{place}.json") for place in range(5)]
    assert CliRunner().invoke(build_cli(factory), ["validate", *names]).exit_code == 0
    assert len(made) == 1


def test_no_file_at_all_is_wrong_usage(shell: Shell) -> None:
    assert shell.run("validate").exit_code == 2
