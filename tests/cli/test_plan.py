"""`graphexec plan`: what would run, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path

from running import Nodes

from cli.shell import Shell

SUM: Nodes = {
    "1": ("Int", {"value": 2}),
    "2": ("Add", {"a": ["1", 0], "b": 3}),
    "3": ("Show", {"source": ["2", 0]}),
}
CHOICE: Nodes = {
    "yes": ("Int", {"value": 1}),
    "no": ("Int", {"value": 2}),
    "both": ("Add", {"a": ["yes", 0], "b": 1}),
    "choose": ("Choose", {"first": True, "yes": ["both", 0], "no": ["no", 0]}),
    "show": ("Show", {"source": ["choose", 0]}),
}


def states(shell: Shell, *options: str) -> dict[str, str]:
    plan = shell.json("plan", "workflow.json", "--json", *options)
    return {node["id"]: node["state"] for node in plan["nodes"]}


def test_at_first_everything_would_run(shell: Shell) -> None:
    shell.write(SUM)
    assert states(shell) == {"1": "run", "2": "run", "3": "run"}
    assert not Path("cache").exists()


def test_after_a_run_only_what_changed_would(shell: Shell) -> None:
    shell.run("run", shell.write(SUM))
    assert states(shell) == {"1": "idle", "2": "idle", "3": "cached"}
    assert states(shell, "--set", "2.b=4") == {"1": "cached", "2": "run", "3": "run"}
    assert set(states(shell, "--no-cache").values()) == {"run"}
    assert set(states(shell, "--cache-dir", "other").values()) == {"run"}


def test_lazy_inputs_run_perhaps(shell: Shell) -> None:
    shell.write(CHOICE)
    assert states(shell) == {"yes": "perhaps", "no": "perhaps", "both": "perhaps", "choose": "run", "show": "run"}


def test_what_is_needed_for_certain_is_not_only_perhaps_run(shell: Shell) -> None:
    shell.write({**CHOICE, "also": ("Show", {"source": ["yes", 0]})})
    assert states(shell)["yes"] == "run"
    assert states(shell)["both"] == "perhaps"


def test_text_has_a_row_for_each_node(shell: Shell) -> None:
    Path("m/checkpoints").mkdir(parents=True)
    Path("m/checkpoints/a.safetensors").touch()
    shell.write(
        {
            "load": ("Load", {"ckpt_name": "a.safetensors"}),
            "1": ("Int", {"value": 2}),
            "2": ("Int", {"value": 2}),
            "sum": ("Add", {"a": ["1", 0], "b": ["2", 0]}),
            "show": ("Show", {"source": ["sum", 0]}),
            "show2": ("Show", {"source": ["load", 0]}),
        }
    )
    result = shell.run("plan", "workflow.json", "--models", "m")
    assert result.exit_code == 0
    rows = {line.split()[1]: line.split() for line in result.stdout.splitlines()[1:6]}
    assert rows["load"][2:6] == ["Load", "run", "2.5", "MB"]
    assert rows["sum"][2:5] == ["Add", "run", "-"]
    assert "2 is the same as 1 and does not run" in result.stdout
    assert "targets: show, show2; 5 of 5 nodes to run" in result.stdout


def test_json_names_merged_nodes_files_and_sizes(shell: Shell) -> None:
    Path("m/checkpoints").mkdir(parents=True)
    Path("m/checkpoints/a.safetensors").touch()
    shell.write({"load": ("Load", {"ckpt_name": "a.safetensors"}), "show": ("Show", {"source": ["load", 0]})})
    plan = shell.json("plan", "workflow.json", "--models", "m", "--json")
    assert plan["targets"] == ["show"]
    assert plan["merged"] == {}
    assert plan["files"] == [str(Path("m/checkpoints/a.safetensors").absolute())]
    assert plan["nodes"][0] == {
        "id": "load",
        "class_type": "Load",
        "title": "the Load",
        "state": "run",
        "bytes": 2_500_000,
        "needs": [],
    }


def test_an_invalid_workflow_has_no_plan(shell: Shell) -> None:
    result = shell.run("plan", shell.write({"1": ("Int", {"value": "x"}), "2": ("Show", {"source": ["1", 0]})}))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("workflow.json:5:13: error: ")


def test_json_whatever_stops_a_plan(shell: Shell) -> None:
    invalid = shell.run("plan", shell.write({**SUM, "1": ("Int", {"value": "x"})}), "--json")
    document = json.loads(invalid.stdout)
    assert (invalid.exit_code, document["status"]) == (2, "invalid")
    assert [found["code"] for found in document["diagnostics"]] == ["invalid_input_type"]
    assert "invalid_input_type" in invalid.stderr
    nowhere = shell.run("plan", shell.write(SUM), "--models", "nowhere", "--json")
    document = json.loads(nowhere.stdout)
    assert (nowhere.exit_code, document["status"]) == (3, "missing")
    assert [found["code"] for found in document["diagnostics"]] == ["invalid_model_folder"]
    assert shell.json("plan", "workflow.json", "--json")["status"] == "done"


def test_a_target_and_a_warning(shell: Shell) -> None:
    shell.write({**SUM, "1": ("Int", {"value": 2.5})})
    result = shell.run("plan", "workflow.json", "--target", "Add")
    assert "targets: 2; 2 of 2 nodes to run" in result.stdout
    assert "lossy_conversion" in result.stderr
